//! Glue between the serial line and `decode`: what the device says is in `decode`, what the gateway hears is here.

pub mod decode;
#[cfg(test)]
mod tests;

use wardgate_sdk::frame::{Delimited, Found, Framer};
use wardgate_sdk::*;

const TEMPERATURE: Channel = 0;
const LINE_BYTES_MAX: usize = 32; // the longest line that the device sends, with room

pub struct Device {
    framer: Framer<Delimited>,
}

impl Plugin for Device {
    fn open(_now: Moment, _start: Opening, out: &mut Outbox) -> Result<Self, Problem> {
        out.describe(TEMPERATURE, &Description::numeric("temperature", "Cel"));
        Ok(Self { framer: Framer::new(Delimited::new(b"\n", LINE_BYTES_MAX)) })
    }
}

impl Serial for Device {
    fn received(&mut self, _now: Moment, bytes: &[u8], out: &mut Outbox) -> Done {
        self.framer.feed(bytes, |found| match found {
            Found::Frame(line) => match decode::line(line) {
                Some(value) => out.emit(&[Observation::of(vec![reading(TEMPERATURE, value)])]),
                None => out.missed(TEMPERATURE, Some(1), Missing::Corrupted),
            },
            Found::Noise(_) | Found::Torn(_) => out.missed(TEMPERATURE, None, Missing::Corrupted),
        });
        Ok(())
    }

    fn link_changed(&mut self, _now: Moment, _state: LinkState, _out: &mut Outbox) -> Done {
        self.framer.drop_waiting(); // the rest of that line will not come
        Ok(())
    }
}

plugin!(Device: serial);
