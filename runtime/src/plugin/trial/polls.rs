//! What a plugin asks of its Modbus bus again and again, seen by letting it ask: its settings decide that, so its manifest cannot say it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::super::timers::Timers;
use super::super::{Prepared, Spent};
use crate::capability::modbus;
use crate::config::{Link, Transaction};
use crate::contract::lifecycle::Opening;
use crate::contract::modbus::{Failure, Request, Response};
use crate::contract::types::{Fact, LinkState, Moment};
use crate::contract::{Event, Said};

/// Of the plugin's own time, which costs us milliseconds. What is asked more rarely than once in it counts as asked once in it.
const WATCHED_S: u64 = 60;
/// A plugin that asks without end is watched no longer than this.
const EVENTS_MAX: usize = 5_000;
/// More of them are one mistake told again and again.
const REFUSED_MAX: usize = 8;

/// What one instance does to its bus.
#[derive(Debug, Default)]
pub struct Polls {
    pub seen: Vec<Transaction>,
    /// What it was seen to ask and is not granted: each once, with the line that would allow it.
    pub refused: Vec<String>,
}

/// As the plugin does with these settings on a bus that answers everything with zeros. What it is not granted it is refused, as it will be: that
/// takes none of the bus's time.
/// It pauses at each tick as any guest call does: whoever has not the time for a plugin that burns it gives it up.
pub async fn transactions(plugin: &Arc<Prepared>, settings: &BTreeMap<String, String>, grant: Option<&modbus::Grant>) -> Polls {
    let Some(grant) = grant.filter(|_| plugin.manifest.links.contains(&Link::Modbus)) else { return Polls::default() };
    let facts = settings.iter().map(|(name, value)| Fact { name: name.clone(), value: value.clone() }).collect();
    let (mut seen, mut refused) = (BTreeMap::new(), Vec::new());
    // what it did until it failed is what is known; that it fails is told elsewhere
    let _ = watch(plugin, facts, grant, &mut seen, &mut refused).await;
    Polls { seen: seen.iter().map(|((server, _), one)| one.transaction(*server)).collect(), refused }
}

/// Server, and the request as bytes would tell it apart.
type Asked = (u8, String);

struct Seen {
    function: u64,
    count: u64,
    first_ns: u64,
    last_ns: u64,
    times: u64,
}

impl Seen {
    fn transaction(&self, server: u8) -> Transaction {
        let period_ms = match self.times {
            1 => WATCHED_S * 1000,
            n => (self.last_ns - self.first_ns) / (n - 1) / 1_000_000,
        };
        Transaction { function: self.function, count: self.count, period_ms: period_ms.max(1), server: Some(server) }
    }
}

async fn watch(
    plugin: &Arc<Prepared>,
    settings: Vec<Fact>,
    grant: &modbus::Grant,
    seen: &mut BTreeMap<Asked, Seen>,
    refused: &mut Vec<String>,
) -> Result<(), Spent> {
    let (mut timers, mut now_ns) = (Timers::default(), 0);
    let moment = |monotonic_ns| Moment { boot: 1, monotonic_ns, wall: None };
    let mut instance = plugin.start().await?;
    let mut said = instance.open(moment(0), &Opening { settings, about: Vec::new(), seed: 1, saved: None }).await?.said;
    let mut waiting = VecDeque::from([Event::ModbusLink(LinkState::Up)]);
    for _ in 0..EVENTS_MAX {
        for word in said {
            match word {
                Said::SetTimer(tag, after_ms) if timers.set(tag, now_ns, after_ms).is_err() => return Ok(()),
                Said::CancelTimer(tag) => timers.cancel(tag),
                Said::ModbusSubmit(tag, server, request) => {
                    if let Err(refusal) = grant.permits(server, &request) {
                        let refusal = refusal.to_string();
                        if refused.len() < REFUSED_MAX && !refused.contains(&refusal) {
                            refused.push(refusal);
                        }
                        waiting.push_back(Event::ModbusReply(tag, Err(Failure::NotGranted)));
                        continue;
                    }
                    let (function, count, answer) = shape(&request);
                    let new = Seen { function, count, first_ns: now_ns, last_ns: now_ns, times: 0 };
                    let one = seen.entry((server, format!("{request:?}"))).or_insert(new);
                    (one.last_ns, one.times) = (now_ns, one.times + 1);
                    waiting.push_back(Event::ModbusReply(tag, Ok(answer)));
                }
                _ => {}
            }
        }
        let event = match waiting.pop_front() {
            Some(event) => event,
            None => {
                let Some((due_ns, _)) = timers.next().filter(|(due_ns, _)| *due_ns <= WATCHED_S * 1_000_000_000) else { return Ok(()) };
                now_ns = due_ns;
                let (_, tag) = timers.take_due(now_ns).expect("it is due");
                Event::Timer(tag)
            }
        };
        said = instance.call(moment(now_ns), &event).await?.said;
    }
    Ok(())
}

/// Function code, registers or coils, and an answer of the right shape.
fn shape(request: &Request) -> (u64, u64, Response) {
    let bits = |function, count: u16| (function, u64::from(count), Response::Bits(vec![false; count.into()]));
    let registers = |function, count: u16| (function, u64::from(count), Response::Registers(vec![0; count.into()]));
    match request {
        Request::ReadCoils(span) => bits(1, span.count),
        Request::ReadDiscreteInputs(span) => bits(2, span.count),
        Request::ReadHoldingRegisters(span) => registers(3, span.count),
        Request::ReadInputRegisters(span) => registers(4, span.count),
        Request::WriteSingleCoil(_) => (5, 0, Response::Written),
        Request::WriteSingleRegister(_) => (6, 0, Response::Written),
        Request::WriteMultipleCoils(coils) => (15, coils.on.len() as u64, Response::Written),
        Request::WriteMultipleRegisters(registers) => (16, registers.values.len() as u64, Response::Written),
        Request::MaskWriteRegister(_) => (22, 0, Response::Written),
        Request::ReadDeviceIdentification(_) => (43, 0, Response::Identification(Vec::new())),
        Request::Other(raw) => (u64::from(raw.function), 0, Response::Other(raw.clone())),
    }
}
