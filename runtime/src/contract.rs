//! Contract 1, gateway to plugin: the one file that knows the WIT. Types are generated once; what a component may import is linked
//! by what it is granted, and its event interfaces are looked up one by one.

use std::sync::Arc;

use wasmtime::component::{Component, HasSelf, InstancePre, Linker};
use wasmtime::{Engine, Store};

mod held;
mod host;
mod text;
mod trap;

mod wit {
    wasmtime::component::bindgen!({
        inline: "package wardgate:host; world everything {
            import wardgate:device/gateway@0.1.0; import wardgate:device/modbus@0.1.0;
            import wardgate:device/serial@0.1.0; import wardgate:device/ble@0.1.0;
            export wardgate:device/lifecycle@0.1.0; export wardgate:device/modbus-events@0.1.0;
            export wardgate:device/serial-events@0.1.0; export wardgate:device/ble-events@0.1.0;
            export wardgate:device/filter-events@0.1.0; }",
        path: "../wit",
        world: "wardgate:host/everything",
        imports: { default: trappable },
        exports: { default: async },
        additional_derives: [PartialEq],
    });
}
pub use held::Held;
pub use host::{Limits, Log, State};
pub use text::{one_line, printable};
pub use trap::{CallError, Failed, Trap};
pub use wit::exports::wardgate::device::{ble_events, filter_events, lifecycle, modbus_events, serial_events};
pub use wit::wardgate::device::{ble, gateway, modbus, serial, types};

use types::{Alert, Channel, Description, Fact, Health, LinkState, Missing, Moment, Observation, Problem, Tag, Waveform};

/// The package and version that components name.
pub const PACKAGE: &str = "wardgate:device";
pub const VERSION: &str = "0.1.0";

/// A plugin numbers its channels from 0 to below this: more than its manifest may ask for of all kinds together.
pub const CHANNELS_MAX: u16 = 4096;

/// How often the call deadline is looked at while a guest call runs.
pub const TICK_MS: u64 = 10; // a tenth of the usual deadline; finer would only wake the machine more often

/// One thing that a plugin said during a call. `log` is not among them: it counts at once, whatever becomes of the call.
#[derive(Clone, Debug, PartialEq)]
pub enum Said {
    Describe(Channel, Description),
    Identify(Vec<Fact>),
    Emit(Vec<Observation>),
    EmitWaveform(Vec<Waveform>),
    Missed(Channel, Option<u64>, Missing),
    Raise(Alert),
    Keep(Vec<u8>),
    WhenDurable(Tag),
    SetTimer(Tag, u64),
    CancelTimer(Tag),
    Report(Health, String),
    Answer(Tag, Result<Vec<u8>, Problem>),
    ModbusSubmit(Tag, u8, modbus::Request),
    ModbusCancel(Tag),
    SerialWrite(Tag, Vec<u8>),
    BleRead(Tag, u16),
    BleWrite(Tag, u16, Vec<u8>, bool),
    BleSubscribe(Tag, u16),
    BleUnsubscribe(Tag, u16),
}

/// One thing that happens to an open plugin.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    Timer(Tag),
    Durable(Tag),
    Command {
        tag: Tag,
        id: String,
        name: String,
        argument: Vec<u8>,
    },
    Close,
    ModbusLink(LinkState),
    ModbusReply(Tag, Result<modbus::Response, modbus::Failure>),
    /// An answer from a frame whose checksum was wrong in the way that the grant takes. The plugin hears it as any other; what it emits
    /// in this call is marked questionable, whatever it thinks of it.
    ModbusQuestionable(Tag, modbus::Response),
    SerialLink(LinkState),
    SerialWritten(Tag, Result<(), serial::Failure>),
    SerialReceived(Vec<u8>),
    SerialFaulted(serial::LineFault),
    BleLink(LinkState),
    BleDiscovered {
        mtu: u16,
        found: Vec<ble::Characteristic>,
        /// For the supervisor: of one of a pool, the address that is its own.
        who: Option<Arc<str>>,
    },
    BleReply(Tag, Result<Vec<u8>, ble::Failure>),
    BleNotified(u16, Vec<u8>),
    /// The peripheral has its confirmation already, from the Bluetooth stack: what the plugin makes of this is to be on flash at once. The plugin
    /// hears it as any notification.
    BleIndicated(u16, Vec<u8>),
    BleAdvertised {
        rssi: i8,
        manufacturer: Vec<ble::ManufacturerData>,
        services: Vec<ble::ServiceData>,
        /// As of `BleDiscovered`.
        who: Option<Arc<str>>,
    },
    /// For the supervisor: some of what its peripheral said did not fit into its inbox.
    BleOverran,
    FilterBound(Channel, Description),
    FilterUnbound(Channel),
    FilterObserved(Observation),
    FilterSampled(Waveform),
    FilterRaised(Channel, Alert),
    FilterMissed(Channel, Option<u64>, Missing),
    /// For the supervisor: what went over a Modbus bus for its plugin, as on the wire.
    ModbusFrames(Vec<Frame>),
    /// For the supervisor: some of what its plugin should have heard of other instances did not fit into its inbox.
    FilterOverran,
}

/// Bytes as they were on a line.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    pub moment: Moment,
    /// By the gateway, not by the device.
    pub sent: bool,
    pub bytes: Vec<u8>,
}

/// Which link imports a component may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Granted {
    pub modbus: bool,
    pub serial: bool,
    pub ble: bool,
}

/// What a finished call said. It takes effect as a whole.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    pub said: Vec<Said>,
    pub logs: Vec<Log>,
    /// Not fatal, or the call would have failed.
    pub problem: Option<Problem>,
    /// What the gateway holds of all that, log lines included.
    pub bytes: usize,
}

/// A component with its imports linked and its exports found: cheap to instantiate from, shared by instances.
pub struct Plugin {
    pre: InstancePre<State>,
    lifecycle: lifecycle::GuestIndices,
    modbus: Option<modbus_events::GuestIndices>,
    serial: Option<serial_events::GuestIndices>,
    ble: Option<ble_events::GuestIndices>,
    filter: Option<filter_events::GuestIndices>,
}

impl Plugin {
    /// Imports and their types are checked here, the presence of exported functions too; the types of exports in [`Plugin::start`].
    pub fn new(engine: &Engine, component: &Component, granted: Granted) -> wasmtime::Result<Self> {
        let pre = linker(engine, granted)?.instantiate_pre(component)?;
        // Absent is fine; present and of another shape is not.
        macro_rules! found {
            ($half:ident, $name:literal) => {
                match component.get_export_index(None, &format!("{PACKAGE}/{}@{VERSION}", $name)) {
                    Some(_) => Some($half::GuestIndices::new(&pre)?),
                    None => None,
                }
            };
        }
        Ok(Self {
            lifecycle: lifecycle::GuestIndices::new(&pre)?,
            modbus: found!(modbus_events, "modbus-events"),
            serial: found!(serial_events, "serial-events"),
            ble: found!(ble_events, "ble-events"),
            filter: found!(filter_events, "filter-events"),
            pre,
        })
    }

    /// A fresh instance, not yet opened. Runs guest code (constructors), so every limit is set before.
    pub async fn start(&self, limits: Limits) -> Result<Running, Failed> {
        let mut store = Store::new(self.pre.engine(), State::new(limits));
        store.limiter(|state| state);
        store.set_hostcall_fuel(limits.said_bytes_max);
        store.epoch_deadline_callback(|mut held| held.data_mut().tick());
        host::begin(&mut store);
        let begun = self.load(&mut store).await;
        match begun {
            Ok(guest) => Ok(Running { guest, store }),
            Err(why) => {
                let logs = store.data_mut().take_logs();
                Err(Failed::new(trap::read(&why, &logs), logs))
            }
        }
    }

    async fn load(&self, store: &mut Store<State>) -> wasmtime::Result<Guest> {
        let i = self.pre.instantiate_async(&mut *store).await?;
        Ok(Guest {
            lifecycle: self.lifecycle.load(&mut *store, &i)?,
            modbus: self.modbus.as_ref().map(|x| x.load(&mut *store, &i)).transpose()?,
            serial: self.serial.as_ref().map(|x| x.load(&mut *store, &i)).transpose()?,
            ble: self.ble.as_ref().map(|x| x.load(&mut *store, &i)).transpose()?,
            filter: self.filter.as_ref().map(|x| x.load(&mut *store, &i)).transpose()?,
        })
    }
}

fn linker(engine: &Engine, granted: Granted) -> wasmtime::Result<Linker<State>> {
    let mut l = Linker::new(engine);
    types::add_to_linker::<_, HasSelf<State>>(&mut l, |s| s)?;
    gateway::add_to_linker::<_, HasSelf<State>>(&mut l, |s| s)?;
    if granted.modbus {
        modbus::add_to_linker::<_, HasSelf<State>>(&mut l, |s| s)?;
    }
    if granted.serial {
        serial::add_to_linker::<_, HasSelf<State>>(&mut l, |s| s)?;
    }
    if granted.ble {
        ble::add_to_linker::<_, HasSelf<State>>(&mut l, |s| s)?;
    }
    Ok(l)
}

struct Guest {
    lifecycle: lifecycle::Guest,
    modbus: Option<modbus_events::Guest>,
    serial: Option<serial_events::Guest>,
    ble: Option<ble_events::Guest>,
    filter: Option<filter_events::Guest>,
}

/// One instance of a plugin. After a failed call it is spent: drop it, so that its slot in the pool is free.
pub struct Running {
    store: Store<State>,
    guest: Guest,
}

impl Running {
    pub async fn open(&mut self, now: Moment, start: &lifecycle::Opening) -> Result<Outcome, Failed> {
        host::begin(&mut self.store);
        let done = self.guest.lifecycle.call_open(&mut self.store, now, start).await;
        self.ended(done)
    }

    /// `Ok`: what was said takes effect. `Err`: nothing does, its log lines apart, and the instance is spent.
    pub async fn call(&mut self, now: Moment, event: &Event) -> Result<Outcome, Failed> {
        host::begin(&mut self.store);
        let done = hear(&self.guest, &mut self.store, now, event).await;
        let mut outcome = self.ended(done)?;
        if matches!(event, Event::ModbusQuestionable(..)) {
            outcome.said.iter_mut().for_each(question);
        }
        Ok(outcome)
    }

    fn ended(&mut self, done: wasmtime::Result<Result<(), Problem>>) -> Result<Outcome, Failed> {
        // First take what was said, then look how the call ended: nothing is left behind for the next call.
        let state = self.store.data_mut();
        let (said, logs, bytes) = (state.take_said(), state.take_logs(), state.paid_bytes());
        match done {
            Ok(Ok(())) => Ok(Outcome { said, logs, problem: None, bytes }),
            Ok(Err(problem)) if !problem.fatal => Ok(Outcome { said, logs, problem: Some(problem), bytes }),
            Ok(Err(problem)) => Err(Failed::new(CallError::Fatal(problem), logs)),
            Err(why) => Err(Failed::new(trap::read(&why, &logs), logs)),
        }
    }
}

fn question(said: &mut Said) {
    match said {
        Said::Emit(observations) => {
            observations.iter_mut().flat_map(|o| &mut o.readings).for_each(|r| r.quality |= types::Quality::QUESTIONABLE);
        }
        Said::EmitWaveform(blocks) => blocks.iter_mut().for_each(|b| b.quality |= types::Quality::QUESTIONABLE),
        _ => {}
    }
}

async fn hear(guest: &Guest, store: &mut Store<State>, now: Moment, event: &Event) -> wasmtime::Result<Result<(), Problem>> {
    match event {
        Event::Timer(tag) => guest.lifecycle.call_timer(store, now, *tag).await,
        Event::Durable(tag) => guest.lifecycle.call_durable(store, now, *tag).await,
        Event::Command { tag, id, name, argument } => guest.lifecycle.call_command(store, now, *tag, id, name, argument).await,
        Event::Close => guest.lifecycle.call_close(store, now).await,
        Event::ModbusLink(state) => deaf(&guest.modbus)?.call_link_changed(store, now, *state).await,
        Event::ModbusReply(tag, outcome) => {
            deaf(&guest.modbus)?.call_reply(store, now, *tag, outcome.as_ref().map_err(|failure| *failure)).await
        }
        Event::ModbusQuestionable(tag, response) => deaf(&guest.modbus)?.call_reply(store, now, *tag, Ok(response)).await,
        Event::SerialLink(state) => deaf(&guest.serial)?.call_link_changed(store, now, *state).await,
        Event::SerialWritten(tag, outcome) => deaf(&guest.serial)?.call_written(store, now, *tag, *outcome).await,
        Event::SerialReceived(bytes) => deaf(&guest.serial)?.call_received(store, now, bytes).await,
        Event::SerialFaulted(fault) => deaf(&guest.serial)?.call_faulted(store, now, *fault).await,
        other => hear_more(guest, store, now, other).await,
    }
}

/// The events of filters and of Bluetooth.
async fn hear_more(guest: &Guest, store: &mut Store<State>, now: Moment, event: &Event) -> wasmtime::Result<Result<(), Problem>> {
    match event {
        Event::BleLink(state) => deaf(&guest.ble)?.call_link_changed(store, now, *state).await,
        Event::BleDiscovered { mtu, found, .. } => deaf(&guest.ble)?.call_discovered(store, now, *mtu, found).await,
        Event::BleReply(tag, outcome) => {
            deaf(&guest.ble)?.call_reply(store, now, *tag, outcome.as_ref().map(Vec::as_slice).map_err(|failure| *failure)).await
        }
        Event::BleNotified(handle, bytes) | Event::BleIndicated(handle, bytes) => {
            deaf(&guest.ble)?.call_notified(store, now, *handle, bytes).await
        }
        Event::BleAdvertised { rssi, manufacturer, services, .. } => {
            deaf(&guest.ble)?.call_advertised(store, now, *rssi, manufacturer, services).await
        }
        Event::FilterBound(input, meaning) => deaf(&guest.filter)?.call_bound(store, now, *input, meaning).await,
        Event::FilterUnbound(input) => deaf(&guest.filter)?.call_unbound(store, now, *input).await,
        Event::FilterObserved(seen) => deaf(&guest.filter)?.call_observed(store, now, seen).await,
        Event::FilterSampled(block) => deaf(&guest.filter)?.call_sampled(store, now, block).await,
        Event::FilterRaised(input, alert) => deaf(&guest.filter)?.call_raised(store, now, *input, alert).await,
        Event::FilterMissed(input, count, because) => deaf(&guest.filter)?.call_missed(store, now, *input, *count, *because).await,
        _ => Err(wasmtime::Error::from(trap::Deaf)),
    }
}

/// Packages are admitted only with the events of their links, so this is a fault of the gateway and not of the plugin.
fn deaf<T>(half: &Option<T>) -> wasmtime::Result<&T> {
    half.as_ref().ok_or_else(|| wasmtime::Error::from(trap::Deaf))
}

#[cfg(test)]
mod tests {
    use super::types::{Absence, DeviceTime, Observation, Quality, Reading, Value};
    use super::*;

    #[test]
    fn what_a_questionable_answer_brings_is_marked_whatever_the_plugin_says() {
        let reading = |quality| Reading { channel: 1, value: Value::Absent(Absence::Unknown), quality };
        let emit =
            |qualities: [Quality; 2]| Said::Emit(vec![Observation { at: DeviceTime::NotTold, readings: qualities.map(reading).to_vec() }]);
        let mut said = emit([Quality::empty(), Quality::TEST]);
        question(&mut said);
        assert_eq!(said, emit([Quality::QUESTIONABLE, Quality::TEST | Quality::QUESTIONABLE]));
    }
}
