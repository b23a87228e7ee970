//! Columns of integers: one that is constant costs a byte or a few, the rest is left to zstd.

use crate::bytes::{Reader, Writer};
use crate::{DeviceTime, Moment, WireError};

const ALL_ZERO: u8 = 0;
const ALL_SAME: u8 = 1;
const EACH: u8 = 2;

pub(crate) fn zig(v: i64) -> u64 {
    ((v << 1) ^ (v >> 63)) as u64
}

pub(crate) fn zag(v: u64) -> i64 {
    (v >> 1) as i64 ^ -((v & 1) as i64)
}

/// From `before` to `after`, around the end of the number line where need be.
pub(crate) fn step(before: u64, after: u64) -> u64 {
    zig(after.wrapping_sub(before) as i64)
}

pub(crate) fn stepped(before: u64, step: u64) -> u64 {
    before.wrapping_add(zag(step) as u64)
}

/// The reader knows how many there are; of none, nothing is written.
pub(crate) fn write(w: &mut Writer, values: &[u64]) {
    let Some(&first) = values.first() else { return };
    if values.iter().all(|&v| v == first) {
        w.u8(if first == 0 { ALL_ZERO } else { ALL_SAME });
        if first != 0 {
            w.varint(first);
        }
        return;
    }
    w.u8(EACH);
    values.iter().for_each(|&v| w.varint(v));
}

/// `n` must have been taken from the batch's rows: a constant column needs no bytes for them.
pub(crate) fn read(r: &mut Reader<'_>, n: usize, what: &'static str) -> Result<Vec<u64>, WireError> {
    if n == 0 {
        return Ok(Vec::new());
    }
    match r.u8()? {
        ALL_ZERO => Ok(vec![0; n]),
        ALL_SAME => match r.varint()? {
            0 => Err(WireError::Range(what)),
            v => Ok(vec![v; n]),
        },
        EACH => {
            if n > r.left() {
                return Err(WireError::Truncated(what));
            }
            let values = (0..n).map(|_| r.varint()).collect::<Result<Vec<_>, _>>()?;
            if values.iter().all(|v| *v == values[0]) { Err(WireError::Range(what)) } else { Ok(values) }
        }
        _ => Err(WireError::Range(what)),
    }
}

/// A column whose values fit a smaller type.
pub(crate) fn read_as<T: TryFrom<u64>>(r: &mut Reader<'_>, n: usize, what: &'static str) -> Result<Vec<T>, WireError> {
    read(r, n, what)?.into_iter().map(|v| T::try_from(v).map_err(|_| WireError::Range(what))).collect()
}

/// Numbers that follow each other through a whole body, in several columns: each column holds steps, and the first number of all stands
/// before the first column, so that the steps stay small from the start.
#[derive(Default)]
pub(crate) struct Chain(Option<u64>);

impl Chain {
    pub(crate) fn write(&mut self, w: &mut Writer, values: &[u64]) {
        let Some(&first) = values.first() else { return };
        let mut last = *self.0.get_or_insert_with(|| {
            w.varint(zig(first as i64));
            first
        });
        let steps: Vec<u64> = values.iter().map(|&v| step(std::mem::replace(&mut last, v), v)).collect();
        write(w, &steps);
        self.0 = Some(last);
    }

    pub(crate) fn read(&mut self, r: &mut Reader<'_>, n: usize, what: &'static str) -> Result<Vec<u64>, WireError> {
        if n == 0 {
            return Ok(Vec::new());
        }
        let begins = self.0.is_none();
        let mut last = match self.0 {
            Some(last) => last,
            None => zag(r.varint()?) as u64,
        };
        let mut values = read(r, n, what)?;
        if begins && values[0] != 0 {
            return Err(WireError::Range(what)); // the first number is already told
        }
        for v in &mut values {
            last = stepped(last, *v);
            *v = last;
        }
        self.0 = Some(last);
        Ok(values)
    }
}

/// The moments and device times of a body, in the order in which its blocks bring them.
#[derive(Default)]
pub(crate) struct Times {
    boot: Option<u64>,
    monotonic: Chain,
    device: Chain,
}

impl Times {
    pub(crate) fn write(&mut self, w: &mut Writer, moments: impl Iterator<Item = (Moment, DeviceTime)> + Clone) {
        let Some((first, _)) = moments.clone().next() else { return };
        let mut boot = *self.boot.get_or_insert_with(|| {
            w.fixed64(first.boot);
            first.boot
        });
        let changes: Vec<u64> = moments.clone().map(|(m, _)| u64::from(std::mem::replace(&mut boot, m.boot) != m.boot)).collect();
        write(w, &changes);
        moments.clone().zip(&changes).filter(|(_, change)| **change == 1).for_each(|((m, _), _)| w.fixed64(m.boot));
        self.boot = Some(boot);
        self.monotonic.write(w, &moments.clone().map(|(m, _)| m.monotonic_ns).collect::<Vec<_>>());
        let (kinds, values): (Vec<u64>, Vec<Option<u64>>) = moments.map(|(_, at)| device_parts(at)).unzip();
        write(w, &kinds);
        self.device.write(w, &values.into_iter().flatten().collect::<Vec<_>>());
    }

    pub(crate) fn read(&mut self, r: &mut Reader<'_>, n: usize) -> Result<Vec<(Moment, DeviceTime)>, WireError> {
        if n == 0 {
            return Ok(Vec::new());
        }
        let begins = self.boot.is_none();
        let mut boot = match self.boot {
            Some(boot) => boot,
            None => r.fixed64()?,
        };
        let mut boots = read(r, n, "changes of boot")?;
        if begins && boots[0] != 0 {
            return Err(WireError::Range("changes of boot")); // the first boot is already told
        }
        for slot in &mut boots {
            boot = match *slot {
                0 => boot,
                1 => r.fixed64().and_then(|new| if new == boot { Err(WireError::Range("a boot")) } else { Ok(new) })?,
                _ => return Err(WireError::Range("changes of boot")),
            };
            *slot = boot;
        }
        self.boot = Some(boot);
        let monotonic = self.monotonic.read(r, n, "moments")?;
        let kinds = read(r, n, "kinds of device time")?;
        let told = kinds.iter().filter(|kind| **kind != 0).count();
        let mut device = self.device.read(r, told, "device times")?.into_iter();
        boots
            .into_iter()
            .zip(monotonic)
            .zip(kinds)
            .map(|((boot, monotonic_ns), kind)| {
                let value = if kind == 0 { 0 } else { device.next().unwrap_or_default() };
                Ok((Moment { boot, monotonic_ns }, device_time(kind, value)?))
            })
            .collect()
    }
}

pub(crate) fn device_parts(at: DeviceTime) -> (u64, Option<u64>) {
    match at {
        DeviceTime::NotTold => (0, None),
        DeviceTime::Utc(ns) => (1, Some(ns as u64)),
        DeviceTime::Local(ns) => (2, Some(ns as u64)),
        DeviceTime::Counter(ns) => (3, Some(ns)),
    }
}

pub(crate) fn device_time(kind: u64, value: u64) -> Result<DeviceTime, WireError> {
    match kind {
        0 => Ok(DeviceTime::NotTold),
        1 => Ok(DeviceTime::Utc(value as i64)),
        2 => Ok(DeviceTime::Local(value as i64)),
        3 => Ok(DeviceTime::Counter(value)),
        _ => Err(WireError::Range("a kind of device time")),
    }
}

/// Numbers that each tend to be `stride` above the one before; `w` gets the first, then a column of how far each of the rest is off.
pub(crate) fn write_sequence(w: &mut Writer, values: &[u64], stride: u64) {
    let Some(&first) = values.first() else { return };
    w.varint(first);
    let steps: Vec<u64> = values.windows(2).map(|pair| step(pair[0].wrapping_add(stride), pair[1])).collect();
    write(w, &steps);
}

pub(crate) fn read_sequence(r: &mut Reader<'_>, n: usize, stride: u64, what: &'static str) -> Result<Vec<u64>, WireError> {
    if n == 0 {
        return Ok(Vec::new());
    }
    let mut last = r.varint()?;
    let mut values = Vec::with_capacity(n);
    values.push(last);
    for step in read(r, n - 1, what)? {
        last = stepped(last.wrapping_add(stride), step);
        values.push(last);
    }
    Ok(values)
}
