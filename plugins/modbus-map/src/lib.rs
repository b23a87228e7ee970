//! Any Modbus device from a map of its registers: glue between the bus and `poll`. `map`, `plan` and `decode` are pure.

pub mod decode;
pub mod map;
pub mod plan;
mod poll;
mod text;

use wardgate_sdk::*;

use poll::Poller;

pub struct ModbusMap(Poller);

impl Plugin for ModbusMap {
    fn open(now: Moment, start: Opening, out: &mut Outbox) -> Result<Self, Problem> {
        Poller::open(now, &start, out).map(Self)
    }

    fn timer(&mut self, now: Moment, tag: Tag, out: &mut Outbox) -> Done {
        self.0.timer(now, tag, out);
        Ok(())
    }

    fn close(&mut self, _now: Moment, out: &mut Outbox) -> Done {
        self.0.close(out);
        Ok(())
    }
}

impl Modbus for ModbusMap {
    fn link_changed(&mut self, now: Moment, state: LinkState, out: &mut Outbox) -> Done {
        self.0.link(now, state, out);
        Ok(())
    }

    fn reply(&mut self, now: Moment, tag: Tag, outcome: Result<modbus::Response, modbus::Failure>, out: &mut Outbox) -> Done {
        self.0.reply(now, tag, outcome, out);
        Ok(())
    }
}

plugin!(ModbusMap: modbus);
