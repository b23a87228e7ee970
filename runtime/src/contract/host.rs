//! What a plugin may call, and the limits it calls under: every import only writes down what was said, or ends the call.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use wasmtime::{ResourceLimiter, Result, Store, UpdateDeadline};

use super::held::Held;
use super::types::{Alert, Channel, Description, Fact, Health, Missing, Observation, Problem, Tag, Waveform};
use super::{Said, ble, gateway, modbus, printable, serial, types};

const LOG_LINE_BYTES_MAX: usize = 1024; // a panic with its place; longer is a dump, not a line
const CALL_COST_BYTES: usize = 64; // what a call costs beside its data: the place in the list of what was said
/// How long a guest that computes through a tick stands back. Others need several turns one after the other (a timer, a request, its answer, for
/// each server of a bus): with one turn a tick, a plugin that loops for ever held the last of eight servers up by 75 ms; with this, by one tick.
const STAND_BACK: Duration = Duration::from_millis(1);
/// A call begins between two ticks and most end there: only one that sees a tick is metered, from then on, because the meter is a system call.
const NOT_METERED: u64 = u64::MAX;
const TABLE_ELEMENTS_MAX: usize = 20_000; // the pool's own bound; a Rust adapter has a few hundred functions in its table

/// What one instance may use. Time is the processor's, not the wall's: a busy gateway never puts the blame on a plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub memory_bytes_max: usize,
    /// Of one call.
    pub cpu_ms_max: u64,
    /// To the gateway, in one call.
    pub calls_max: u32,
    /// Said in one call.
    pub said_bytes_max: usize,
}

/// A line that a plugin logged, already safe to show.
#[derive(Clone, Debug, PartialEq)]
pub struct Log {
    /// How much had been said before it in the same call.
    pub after: usize,
    pub level: gateway::Level,
    pub text: String,
}

/// What lives beside a guest in its store.
pub struct State {
    limits: Limits,
    said: Vec<Said>,
    logs: Vec<Log>,
    calls_left: u32,
    bytes_left: usize,
    /// In slices that are over.
    used_cpu_ns: u64,
    /// Where this thread's meter stood when the running slice began; shared with the pause between two slices.
    began_cpu_ns: Arc<AtomicU64>,
}

#[derive(Debug, thiserror::Error)]
#[error("over the quota: {0}")]
pub(super) struct OverQuota(pub(super) &'static str);

#[derive(Debug, thiserror::Error)]
#[error("over its processor time")]
pub(super) struct OverTime {
    pub(super) used_ms: u64,
    pub(super) max_ms: u64,
}

#[derive(Debug, thiserror::Error)]
#[error("over its memory")]
pub(super) struct OverMemory {
    pub(super) asked_bytes: usize,
    pub(super) max_bytes: usize,
}

/// Every call into a guest starts here, on the thread that makes it.
pub(super) fn begin(store: &mut Store<State>) {
    let state = store.data_mut();
    state.calls_left = state.limits.calls_max;
    state.bytes_left = state.limits.said_bytes_max;
    state.used_cpu_ns = 0;
    state.began_cpu_ns.store(NOT_METERED, Relaxed);
    store.set_epoch_deadline(1);
}

/// How long this thread has computed. A meter, not a clock: it stands still while the thread waits for its turn.
fn thread_cpu_ns() -> u64 {
    let t = clock_gettime(ClockId::ThreadCPUTime);
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}

async fn stand_back() {
    // a plugin's test and whoever else calls outside the gateway's runtime has nobody to stand back for
    if tokio::runtime::Handle::try_current().is_ok() {
        tokio::time::sleep(STAND_BACK).await;
    } else {
        tokio::task::yield_now().await;
    }
}

impl State {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, said: Vec::new(), logs: Vec::new(), calls_left: 0, bytes_left: 0, used_cpu_ns: 0, began_cpu_ns: Arc::default() }
    }

    pub(super) fn take_said(&mut self) -> Vec<Said> {
        std::mem::take(&mut self.said)
    }

    /// In the call that has just ended.
    pub(super) fn paid_bytes(&self) -> usize {
        self.limits.said_bytes_max - self.bytes_left
    }

    pub(super) fn take_logs(&mut self) -> Vec<Log> {
        std::mem::take(&mut self.logs)
    }

    /// At each tick that finds the guest running, all else has its turns: a plugin that burns its whole time delays nobody by more than a tick.
    /// The ticker counts wall time; only what the guest has really computed ends its call.
    pub(super) fn tick(&mut self) -> Result<UpdateDeadline> {
        let began = self.began_cpu_ns.load(Relaxed);
        if began != NOT_METERED {
            self.used_cpu_ns += thread_cpu_ns().saturating_sub(began);
        }
        let (used_ms, max_ms) = (self.used_cpu_ns / 1_000_000, self.limits.cpu_ms_max);
        if used_ms >= max_ms {
            return Err(OverTime { used_ms, max_ms }.into());
        }
        let next = self.began_cpu_ns.clone();
        let pause = async move {
            stand_back().await;
            next.store(thread_cpu_ns(), Relaxed);
        };
        Ok(UpdateDeadline::YieldCustom(1, Box::pin(pause)))
    }

    fn pay(&mut self, bytes: usize) -> Result<()> {
        self.calls_left = self.calls_left.checked_sub(1).ok_or(OverQuota("number of calls to the gateway"))?;
        self.bytes_left = self.bytes_left.checked_sub(bytes.saturating_add(CALL_COST_BYTES)).ok_or(OverQuota("bytes said"))?;
        Ok(())
    }

    fn say(&mut self, bytes: usize, what: Said) -> Result<()> {
        self.pay(bytes)?;
        self.said.push(what);
        Ok(())
    }
}

impl ResourceLimiter for State {
    fn memory_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> Result<bool> {
        let max_bytes = self.limits.memory_bytes_max;
        if desired > max_bytes {
            return Err(OverMemory { asked_bytes: desired, max_bytes }.into());
        }
        Ok(true)
    }

    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> Result<bool> {
        Ok(desired <= TABLE_ELEMENTS_MAX)
    }
}

impl types::Host for State {}

impl gateway::Host for State {
    fn describe(&mut self, channel: Channel, meaning: Description) -> Result<()> {
        self.say(meaning.held_bytes(), Said::Describe(channel, meaning))
    }
    fn identify(&mut self, facts: Vec<Fact>) -> Result<()> {
        self.say(facts.held_bytes(), Said::Identify(facts))
    }
    fn emit(&mut self, observations: Vec<Observation>) -> Result<()> {
        self.say(observations.held_bytes(), Said::Emit(observations))
    }
    fn emit_waveform(&mut self, blocks: Vec<Waveform>) -> Result<()> {
        self.say(blocks.held_bytes(), Said::EmitWaveform(blocks))
    }
    fn missed(&mut self, channel: Channel, count: Option<u64>, because: Missing) -> Result<()> {
        self.say(0, Said::Missed(channel, count, because))
    }
    fn raise(&mut self, alert: Alert) -> Result<()> {
        self.say(alert.held_bytes(), Said::Raise(alert))
    }
    fn keep(&mut self, state: Vec<u8>) -> Result<()> {
        self.say(state.len(), Said::Keep(state))
    }
    fn when_durable(&mut self, tag: Tag) -> Result<()> {
        self.say(0, Said::WhenDurable(tag))
    }
    fn set_timer(&mut self, tag: Tag, after_ms: u64) -> Result<()> {
        self.say(0, Said::SetTimer(tag, after_ms))
    }
    fn cancel_timer(&mut self, tag: Tag) -> Result<()> {
        self.say(0, Said::CancelTimer(tag))
    }
    fn report(&mut self, health: Health, detail: String) -> Result<()> {
        self.say(detail.len(), Said::Report(health, detail))
    }
    fn answer(&mut self, tag: Tag, outcome: std::result::Result<Vec<u8>, Problem>) -> Result<()> {
        let bytes = outcome.as_ref().map_or_else(|problem| problem.detail.len(), Vec::len);
        self.say(bytes, Said::Answer(tag, outcome))
    }
    fn log(&mut self, level: gateway::Level, message: String) -> Result<()> {
        self.pay(message.len())?;
        let text = printable(&message, LOG_LINE_BYTES_MAX);
        self.logs.push(Log { after: self.said.len(), level, text });
        Ok(())
    }
}

impl modbus::Host for State {
    fn submit(&mut self, tag: Tag, server: u8, request: modbus::Request) -> Result<()> {
        self.say(request.held_bytes(), Said::ModbusSubmit(tag, server, request))
    }
    fn cancel(&mut self, tag: Tag) -> Result<()> {
        self.say(0, Said::ModbusCancel(tag))
    }
}

impl serial::Host for State {
    fn write(&mut self, tag: Tag, frame: Vec<u8>) -> Result<()> {
        self.say(frame.len(), Said::SerialWrite(tag, frame))
    }
}

impl ble::Host for State {
    fn read(&mut self, tag: Tag, handle: u16) -> Result<()> {
        self.say(0, Said::BleRead(tag, handle))
    }
    fn write(&mut self, tag: Tag, handle: u16, bytes: Vec<u8>, with_response: bool) -> Result<()> {
        self.say(bytes.len(), Said::BleWrite(tag, handle, bytes, with_response))
    }
    fn subscribe(&mut self, tag: Tag, handle: u16) -> Result<()> {
        self.say(0, Said::BleSubscribe(tag, handle))
    }
    fn unsubscribe(&mut self, tag: Tag, handle: u16) -> Result<()> {
        self.say(0, Said::BleUnsubscribe(tag, handle))
    }
}
