//! Glue between the Modbus bus and `decode`: asks once a second, hands the registers on.

pub mod decode;
#[cfg(test)]
mod tests;

use wardgate_sdk::*;

const TEMPERATURE: Channel = 0;
const SERVER: u8 = 1;
const REGISTERS: modbus::Span = modbus::Span { address: 0, count: 1 };
const POLL: Tag = 1; // of the timer and of the request: one of each is open
const PERIOD_MS: u64 = 1000; // faster tells nothing more about a room

pub struct Device;

impl Plugin for Device {
    fn open(_now: Moment, _start: Opening, out: &mut Outbox) -> Result<Self, Problem> {
        out.describe(TEMPERATURE, &Description::numeric("temperature", "Cel"));
        out.set_timer(POLL, PERIOD_MS);
        Ok(Self)
    }

    fn timer(&mut self, _now: Moment, _tag: Tag, out: &mut Outbox) -> Done {
        out.modbus_submit(POLL, SERVER, &modbus::Request::ReadHoldingRegisters(REGISTERS));
        Ok(())
    }
}

impl Modbus for Device {
    fn reply(&mut self, _now: Moment, _tag: Tag, outcome: Result<modbus::Response, modbus::Failure>, out: &mut Outbox) -> Done {
        out.set_timer(POLL, PERIOD_MS);
        match outcome {
            Ok(modbus::Response::Registers(registers)) => match decode::registers(&registers) {
                Some(value) => out.emit(&[Observation::of(vec![reading(TEMPERATURE, value)])]),
                None => out.missed(TEMPERATURE, Some(1), Missing::Corrupted),
            },
            Ok(_) => out.missed(TEMPERATURE, Some(1), Missing::Corrupted),
            Err(_) => out.missed(TEMPERATURE, Some(1), Missing::DeviceOff),
        }
        Ok(())
    }
}

plugin!(Device: modbus);
