//! Which requests read a map: neighbours in one request, gaps only where they were granted. Pure.

use crate::map::Row;

pub const REGISTERS_MAX: u16 = 125; // of one request, by the Modbus specification
pub const BITS_MAX: u16 = 2000; // likewise, coils and discrete inputs

#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Registers that no row names and that may be read all the same to join two rows.
    pub gap: u16,
    pub registers: u16,
}

/// One request and the rows that its answer feeds.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Index into the periods.
    pub group: usize,
    pub first: u16,
    pub count: u16,
    /// In order of address; all of one server and function.
    pub rows: Vec<usize>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    pub periods_ms: Vec<u64>,
    pub requests: Vec<Request>,
}

pub fn plan(rows: &[Row], limits: Limits) -> Plan {
    let mut periods_ms: Vec<u64> = rows.iter().map(|r| r.every_ms).collect();
    periods_ms.sort_unstable();
    periods_ms.dedup();
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by_key(|n| (rows[*n].every_ms, rows[*n].server, rows[*n].function, rows[*n].address, *n));
    let mut requests: Vec<Request> = Vec::new();
    for n in order {
        let row = &rows[n];
        let most = if row.function.of_bits() { BITS_MAX } else { limits.registers };
        let end = u32::from(row.address) + u32::from(row.form.words);
        let joins = |request: &Request| {
            let before = &rows[request.rows[0]];
            let reach = u32::from(request.first) + u32::from(request.count);
            (before.every_ms, before.server, before.function) == (row.every_ms, row.server, row.function)
                && u32::from(row.address) <= reach + u32::from(limits.gap)
                && end.max(reach) - u32::from(request.first) <= u32::from(most)
        };
        match requests.last_mut().filter(|r| joins(r)) {
            Some(request) => {
                let reach = (u32::from(request.first) + u32::from(request.count)).max(end);
                request.count = (reach - u32::from(request.first)) as u16;
                request.rows.push(n);
            }
            None => {
                let group = periods_ms.iter().position(|p| *p == row.every_ms).unwrap_or(0);
                requests.push(Request { group, first: row.address, count: row.form.words, rows: vec![n] });
            }
        }
    }
    Plan { periods_ms, requests }
}
