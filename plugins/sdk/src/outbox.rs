//! All that a plugin can say. In the sandbox each method is the import itself; natively it writes down what was said, for tests.

use crate::{Alert, Channel, Description, Fact, Health, Level, Missing, Observation, Problem, Tag, Waveform, ble, gateway, modbus, serial};

/// One row per function of the contract: its native record, and its import with its arguments.
macro_rules! outbox {
    ($($(#[$doc:meta])* $name:ident => $said:ident = $($path:ident)::+ ( $($arg:ident : $ty:ty = $owned:expr => $keep:ty),* );)*) => {
        /// What a call said, in order.
        #[cfg(not(target_arch = "wasm32"))]
        #[derive(Clone, Debug, PartialEq)]
        pub enum Said { $($said($($keep),*)),* }

        /// Where a plugin says things. What one call says takes effect together when it returns, or not at all.
        #[derive(Debug, Default)]
        pub struct Outbox {
            #[cfg(not(target_arch = "wasm32"))]
            pub said: Vec<Said>,
        }

        impl Outbox {
            $(
                $(#[$doc])*
                #[inline]
                pub fn $name(&mut self, $($arg: $ty),*) {
                    #[cfg(target_arch = "wasm32")]
                    $($path)::+($($arg),*);
                    #[cfg(not(target_arch = "wasm32"))]
                    {
                        let _ = $($path)::+; // the row names a function that exists
                        self.said.push(Said::$said($($owned),*));
                    }
                }
            )*
        }
    };
}

outbox! {
    /// Before a channel's first use, and again whenever the device changes unit, scale or rate; indices start at 0 again.
    describe => Describe = gateway::describe(channel: Channel = channel => Channel, meaning: &Description = meaning.clone() => Description);
    /// Who the device says it is.
    identify => Identify = gateway::identify(facts: &[Fact] = facts.to_vec() => Vec<Fact>);
    emit => Emit = gateway::emit(observations: &[Observation] = observations.to_vec() => Vec<Observation>);
    emit_waveform => EmitWaveform = gateway::emit_waveform(blocks: &[Waveform] = blocks.to_vec() => Vec<Waveform>);
    /// Why the next jump in a channel's indices happens; without a count when the device does not tell how much is missing.
    missed => Missed = gateway::missed(channel: Channel = channel => Channel, count: Option<u64> = count => Option<u64>, because: Missing = because => Missing);
    raise => Raise = gateway::raise(alert: &Alert = alert.clone() => Alert);
    /// Replaces the state that `open` gets after a restart; durable in one piece with what this call emits.
    keep => Keep = gateway::keep(state: &[u8] = state.to_vec() => Vec<u8>);
    /// Asks for `durable(tag)` when everything said so far is on flash.
    when_durable => WhenDurable = gateway::when_durable(tag: Tag = tag => Tag);
    set_timer => SetTimer = gateway::set_timer(tag: Tag = tag => Tag, after_ms: u64 = after_ms => u64);
    cancel_timer => CancelTimer = gateway::cancel_timer(tag: Tag = tag => Tag);
    report => Report = gateway::report(health: Health = health => Health, detail: &str = detail.into() => String);
    answer => Answer = gateway::answer(tag: Tag = tag => Tag, outcome: Result<&[u8], &Problem> = outcome.map(<[u8]>::to_vec).map_err(Problem::clone) => Result<Vec<u8>, Problem>);
    /// Counts at once, even when the call fails.
    log => Log = gateway::log(level: Level = level => Level, message: &str = message.into() => String);
    modbus_submit => ModbusSubmit = modbus::submit(tag: Tag = tag => Tag, server: u8 = server => u8, request: &modbus::Request = request.clone() => modbus::Request);
    modbus_cancel => ModbusCancel = modbus::cancel(tag: Tag = tag => Tag);
    /// One call is one frame: it must match one granted pattern as a whole.
    serial_write => SerialWrite = serial::write(tag: Tag = tag => Tag, frame: &[u8] = frame.to_vec() => Vec<u8>);
    ble_read => BleRead = ble::read(tag: Tag = tag => Tag, handle: ble::Handle = handle => ble::Handle);
    ble_write => BleWrite = ble::write(tag: Tag = tag => Tag, handle: ble::Handle = handle => ble::Handle, bytes: &[u8] = bytes.to_vec() => Vec<u8>, with_response: bool = with_response => bool);
    ble_subscribe => BleSubscribe = ble::subscribe(tag: Tag = tag => Tag, handle: ble::Handle = handle => ble::Handle);
    ble_unsubscribe => BleUnsubscribe = ble::unsubscribe(tag: Tag = tag => Tag, handle: ble::Handle = handle => ble::Handle);
}

impl Outbox {
    /// For plugins that read a device's memory: what was read and the place reached, in one call, every time. After a crash the
    /// plugin opens with exactly the place that fits what was stored. Never call `emit` and `keep` from two events for this.
    pub fn emit_and_keep(&mut self, observations: &[Observation], place: &[u8]) {
        self.emit(observations);
        self.keep(place);
    }

    /// What was said since the last `take`.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn take(&mut self) -> Vec<Said> {
        std::mem::take(&mut self.said)
    }
}
