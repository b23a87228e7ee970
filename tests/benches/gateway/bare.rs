//! The yardstick for calls: the contract's bindings on a bare engine. It keeps what a plugin says and judges nothing: no limits on memory, no rules.

use wasmtime::component::{Component, HasSelf, Linker};
use wasmtime::{Config, Engine, InstanceAllocationStrategy, Result, Store};

mod wit {
    wasmtime::component::bindgen!({
        inline: "package wardgate:bare; world bare {
            import wardgate:device/gateway@0.1.0; import wardgate:device/modbus@0.1.0; import wardgate:device/serial@0.1.0;
            export wardgate:device/lifecycle@0.1.0; export wardgate:device/modbus-events@0.1.0; export wardgate:device/serial-events@0.1.0; }",
        path: "../wit",
        imports: { default: trappable },
    });
}
use wit::Bare;
pub use wit::exports::wardgate::device::lifecycle::Opening;
use wit::wardgate::device::{gateway, modbus, serial, types};
pub use wit::wardgate::device::{modbus::Response, types::Moment};

use types::{Alert, Channel, Description, Fact, Health, Missing, Observation, Problem, Tag, Waveform};

/// What a plugin said in one call, whatever it was.
#[allow(dead_code, reason = "made and dropped, as the gateway makes it")]
enum Said {
    Described(Channel, Description),
    Observed(Vec<Observation>),
    Sampled(Vec<Waveform>),
    Kept(Vec<u8>),
    Other,
}

#[derive(Default)]
struct Heard(Vec<Said>);

impl Heard {
    fn other(&mut self) -> Result<()> {
        self.0.push(Said::Other);
        Ok(())
    }
}

impl types::Host for Heard {}

impl gateway::Host for Heard {
    fn describe(&mut self, channel: Channel, meaning: Description) -> Result<()> {
        self.0.push(Said::Described(channel, meaning));
        Ok(())
    }
    fn emit(&mut self, observations: Vec<Observation>) -> Result<()> {
        self.0.push(Said::Observed(observations));
        Ok(())
    }
    fn emit_waveform(&mut self, blocks: Vec<Waveform>) -> Result<()> {
        self.0.push(Said::Sampled(blocks));
        Ok(())
    }
    fn keep(&mut self, state: Vec<u8>) -> Result<()> {
        self.0.push(Said::Kept(state));
        Ok(())
    }
    fn identify(&mut self, _: Vec<Fact>) -> Result<()> {
        self.other()
    }
    fn missed(&mut self, _: Channel, _: Option<u64>, _: Missing) -> Result<()> {
        self.other()
    }
    fn raise(&mut self, _: Alert) -> Result<()> {
        self.other()
    }
    fn when_durable(&mut self, _: Tag) -> Result<()> {
        self.other()
    }
    fn set_timer(&mut self, _: Tag, _: u64) -> Result<()> {
        self.other()
    }
    fn cancel_timer(&mut self, _: Tag) -> Result<()> {
        self.other()
    }
    fn report(&mut self, _: Health, _: String) -> Result<()> {
        self.other()
    }
    fn answer(&mut self, _: Tag, _: std::result::Result<Vec<u8>, Problem>) -> Result<()> {
        self.other()
    }
    fn log(&mut self, _: gateway::Level, _: String) -> Result<()> {
        self.other()
    }
}

impl modbus::Host for Heard {
    fn submit(&mut self, _: Tag, _: u8, _: modbus::Request) -> Result<()> {
        self.other()
    }
    fn cancel(&mut self, _: Tag) -> Result<()> {
        self.other()
    }
}

impl serial::Host for Heard {
    fn write(&mut self, _: Tag, _: Vec<u8>) -> Result<()> {
        self.other()
    }
}

/// A component on the bare engine.
pub struct Guest {
    store: Store<Heard>,
    calls: Bare,
}

impl Guest {
    pub fn open(component: &[u8], now: Moment) -> Result<Self> {
        let mut config = Config::new();
        config.wasm_component_model(true).epoch_interruption(true);
        config.allocation_strategy(InstanceAllocationStrategy::pooling());
        let engine = Engine::new(&config)?;
        let mut linker = Linker::new(&engine);
        Bare::add_to_linker::<_, HasSelf<_>>(&mut linker, |heard| heard)?;
        let mut store = Store::new(&engine, Heard::default());
        store.set_epoch_deadline(u64::MAX / 2);
        let calls = Bare::instantiate(&mut store, &Component::new(&engine, component)?, &linker)?;
        let start = Opening { settings: Vec::new(), about: Vec::new(), seed: 1, saved: None };
        let opened = calls.wardgate_device_lifecycle().call_open(&mut store, now, &start)?;
        assert!(opened.is_ok(), "it opens");
        Ok(Self { store, calls })
    }

    pub fn timer(&mut self, now: Moment) {
        let done = self.calls.wardgate_device_lifecycle().call_timer(&mut self.store, now, 1);
        self.heard(done);
    }

    pub fn received(&mut self, now: Moment, bytes: &[u8]) {
        let done = self.calls.wardgate_device_serial_events().call_received(&mut self.store, now, bytes);
        self.heard(done);
    }

    pub fn reply(&mut self, now: Moment, response: &Response) {
        let done = self.calls.wardgate_device_modbus_events().call_reply(&mut self.store, now, 1, Ok(response));
        self.heard(done);
    }

    fn heard(&mut self, done: Result<std::result::Result<(), Problem>>) {
        assert!(done.expect("no trap").is_ok(), "no problem");
        assert!(!std::mem::take(&mut self.store.data_mut().0).is_empty(), "it said something");
    }
}
