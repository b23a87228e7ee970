//! A plugin of the usual size of calls: a timer that keeps its place, a serial chunk with readings and a block of samples, a Modbus reply.

use wardgate_sdk::*;

const REGISTERS: u16 = 20;
const READINGS: u16 = 4;
const SAMPLES: u64 = 200;
const WAVE: Channel = REGISTERS;

struct Yardstick {
    heard: u64,
    first: u64,
}

impl Plugin for Yardstick {
    fn open(_now: Moment, _start: Opening, out: &mut Outbox) -> Result<Self, Problem> {
        (0..REGISTERS).for_each(|n| out.describe(n, &Description::numeric(&format!("r{n}"), "1")));
        let (scale, offset) = (Decimal { mantissa: 1, exponent: 0 }, Decimal { mantissa: 0, exponent: 0 });
        out.describe(WAVE, &Description::waveform("wave", "1", scale, offset, (1, 200), 16));
        Ok(Self { heard: 0, first: 0 })
    }

    fn timer(&mut self, _now: Moment, _tag: Tag, out: &mut Outbox) -> Done {
        out.keep(&self.heard.to_le_bytes());
        Ok(())
    }
}

impl Serial for Yardstick {
    fn received(&mut self, _now: Moment, bytes: &[u8], out: &mut Outbox) -> Done {
        self.heard += bytes.len() as u64;
        let readings = (0..READINGS).zip(bytes).map(|(n, byte)| reading(n, Decimal { mantissa: i64::from(*byte), exponent: -1 }));
        out.emit(&[Observation::of(readings.collect())]);
        let counts = (0..SAMPLES as usize).map(|n| i32::from(bytes[n % bytes.len()]) + n as i32).collect();
        out.emit_waveform(&[Waveform::of(WAVE, self.first, counts)]);
        self.first += SAMPLES;
        Ok(())
    }
}

impl Modbus for Yardstick {
    fn reply(&mut self, _now: Moment, _tag: Tag, outcome: Result<modbus::Response, modbus::Failure>, out: &mut Outbox) -> Done {
        if let Ok(modbus::Response::Registers(values)) = outcome {
            let readings = (0..).zip(values).map(|(n, value)| reading(n, Decimal { mantissa: i64::from(value), exponent: -1 }));
            out.emit(&[Observation::of(readings.collect())]);
        }
        Ok(())
    }
}

plugin!(Yardstick: modbus, serial);
