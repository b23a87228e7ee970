//! What a notification means. Pure: no outbox, no clock.

use wardgate_sdk::Channel;
use wardgate_sdk::gatt::{Column, Fields, Message, Read, sig};

/// Temperature Measurement. A characteristic of your own is all 128 bits: 0x19b1_0001_e8f2_537e_4f6c_d104_768a_1214.
pub const MEASUREMENT: u128 = sig(0x2a1c);

const TEMPERATURE: Channel = 0;
pub const CHANNELS: &[Column] = &[Column::numeric("temperature", &["Cel", "[degF]"])];

const FAHRENHEIT: u8 = 1; // bit 0 of the flags

/// Flags, then a number of IEEE 11073, which keeps its precision and may say why there is none.
pub fn decode(_from: u128, bytes: &[u8]) -> Read<Vec<Message>> {
    let mut fields = Fields::new(bytes);
    let flags = fields.u8()?;
    let mut message = Message::new();
    message.unit = Some(usize::from(flags & FAHRENHEIT));
    message.push(TEMPERATURE, fields.float()?);
    Ok(vec![message])
}

#[cfg(test)]
mod tests {
    use super::*;
    use wardgate_sdk::{Absence, Decimal, reading};

    #[test]
    fn the_number_keeps_its_precision() {
        let celsius = |value| Ok(vec![Message { unit: Some(0), ..Message::of(vec![value]) }]);
        assert_eq!(decode(MEASUREMENT, &[0, 0x6d, 0x01, 0, 0xff]), celsius(reading(TEMPERATURE, Decimal::new(365, -1))));
        assert_eq!(decode(MEASUREMENT, &[0, 0xff, 0xff, 0x7f, 0]), celsius(reading(TEMPERATURE, Absence::NotMeasured)));
        assert!(decode(MEASUREMENT, &[0, 1, 2]).is_err());
    }
}
