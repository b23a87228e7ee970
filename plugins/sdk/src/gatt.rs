//! What every Bluetooth LE plugin shares: reading fields, device clocks, channels as a table, and `Peripheral`, which finds the
//! characteristics, says who the device is (Device Information), tells its battery and hands each value to the plugin's `Profile`.

mod fields;
mod form;
mod information;
mod peripheral;
pub mod polar;
mod table;
mod time;
mod wave;

pub use fields::{Damage, Fields, Read};
pub use form::Form;
pub use peripheral::{Peer, Peripheral, Profile};
pub use table::{Column, Message};
pub use time::DateTime;
pub use wave::{Stamp, Waves, had_time};

use crate::ble;

const BASE: u128 = 0x0000_0000_0000_1000_8000_0080_5f9b_34fb;

/// The 128 bits of a number that the Bluetooth SIG assigned.
pub const fn sig(short: u16) -> u128 {
    (short as u128) << 96 | BASE
}

/// As people write it: four digits for an assigned number, all 32 otherwise.
pub fn name(uuid: u128) -> String {
    match (uuid >> 96) as u16 {
        short if sig(short) == uuid => format!("{short:04x}"),
        _ => format!("{uuid:032x}"),
    }
}

/// Why a request came to nothing, for people.
pub fn refusal(why: &ble::Failure) -> String {
    use ble::Failure as F;
    let words = match why {
        F::Timeout => "it did not answer",
        F::LinkDown => "the link was lost",
        F::NotGranted => "the gateway refused it, and its log names the line to add",
        F::OverRate => "it was asked too often",
        F::NotFound => "it is not there any more",
        F::NotPermitted => "it does not permit that",
        F::Busy => "it is busy",
        F::Cancelled => "it was cancelled",
        F::Att(code) => return format!("it refused with ATT error {code:#04x}"),
    };
    words.into()
}

fn wide(uuid: ble::Uuid) -> u128 {
    u128::from(uuid.high) << 64 | u128::from(uuid.low)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_contract() {
        assert_eq!(wide(ble::Uuid { high: 0x2a1c << 32 | 0x1000, low: 0x8000_0080_5f9b_34fb }), sig(0x2a1c));
        assert_eq!(name(sig(0x2a1c)), "2a1c");
        assert_eq!(name(0x19b1_0001_e8f2_537e_4f6c_d104_768a_1214), "19b10001e8f2537e4f6cd104768a1214");
    }
}
