//! Glue between a Bluetooth LE peripheral and `decode`: subscribes to one characteristic, hands its notifications on.

pub mod decode;
#[cfg(test)]
mod tests;

use wardgate_sdk::*;

const TEMPERATURE: Channel = 0;
/// Temperature Measurement, 2A1C: a 16-bit number n is high = n << 32 | 0x1000.
const MEASUREMENT: ble::Uuid = ble::Uuid { high: 0x2a1c << 32 | 0x1000, low: 0x8000_0080_5f9b_34fb };
const SUBSCRIBE: Tag = 1;

pub struct Device {
    /// Given anew with each connection.
    handle: Option<ble::Handle>,
}

impl Plugin for Device {
    fn open(_now: Moment, _start: Opening, out: &mut Outbox) -> Result<Self, Problem> {
        out.describe(TEMPERATURE, &Description::numeric("temperature", "Cel"));
        Ok(Self { handle: None })
    }
}

impl Ble for Device {
    fn link_changed(&mut self, _now: Moment, _state: LinkState, _out: &mut Outbox) -> Done {
        self.handle = None;
        Ok(())
    }

    fn discovered(&mut self, _now: Moment, _mtu: u16, found: Vec<ble::Characteristic>, out: &mut Outbox) -> Done {
        self.handle = found.iter().find(|c| c.uuid == MEASUREMENT).map(|c| c.handle);
        let handle = self.handle.ok_or_else(|| Problem::device("the device has no characteristic 2A1C, or it is not granted"))?;
        out.ble_subscribe(SUBSCRIBE, handle);
        Ok(())
    }

    fn notified(&mut self, _now: Moment, handle: ble::Handle, bytes: &[u8], out: &mut Outbox) -> Done {
        match decode::measurement(bytes).filter(|_| Some(handle) == self.handle) {
            Some(value) => out.emit(&[Observation::of(vec![reading(TEMPERATURE, value)])]),
            None => out.missed(TEMPERATURE, Some(1), Missing::Corrupted),
        }
        Ok(())
    }
}

plugin!(Device: ble);
