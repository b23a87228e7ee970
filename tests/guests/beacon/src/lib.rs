//! Hears a device that only broadcasts: a number in its manufacturer data, its serial number in its service data.

use std::cell::Cell;

wit_bindgen::generate!({
    inline: "package wardgate:beacon; world beacon {
        import wardgate:device/gateway@0.1.0; import wardgate:device/ble@0.1.0;
        export wardgate:device/lifecycle@0.1.0; export wardgate:device/ble-events@0.1.0; }",
    path: "../../../wit",
    generate_all,
});

use exports::wardgate::device::{ble_events, lifecycle};
use wardgate::device::ble::{Characteristic, Failure, Handle, ManufacturerData, ServiceData};
use wardgate::device::gateway;
use wardgate::device::types::*;

type Done = Result<(), Problem>;

const NO_COMPANY: u16 = 0xffff;
const SERIAL_NUMBER: u64 = 0x2a25;

thread_local! {
    static BURN: Cell<u64> = const { Cell::new(0) };
    static TOLD: Cell<bool> = const { Cell::new(false) };
}

struct Beacon;

impl lifecycle::Guest for Beacon {
    fn open(_: Moment, start: lifecycle::Opening) -> Done {
        BURN.set(start.settings.iter().find(|fact| fact.name == "burn").map_or(0, |fact| fact.value.parse().expect("a number")));
        let value = Description {
            name: "value".into(),
            kind: Kind::Numeric,
            code: None,
            unit: "1".into(),
            shape: None,
            personal: false,
            facts: vec![],
        };
        gateway::describe(0, &value);
        Ok(())
    }
    fn timer(_: Moment, _: Tag) -> Done {
        Ok(())
    }
    fn durable(_: Moment, _: Tag) -> Done {
        Ok(())
    }
    fn command(_: Moment, tag: Tag, _: String, _: String, _: Vec<u8>) -> Done {
        gateway::answer(tag, Ok(b""));
        Ok(())
    }
    fn close(_: Moment) -> Done {
        Ok(())
    }
}

impl ble_events::Guest for Beacon {
    fn link_changed(_: Moment, _: LinkState) -> Done {
        TOLD.set(false);
        Ok(())
    }
    fn discovered(_: Moment, _: u16, _: Vec<Characteristic>) -> Done {
        Ok(())
    }
    fn reply(_: Moment, _: Tag, _: Result<Vec<u8>, Failure>) -> Done {
        Ok(())
    }
    fn notified(_: Moment, _: Handle, _: Vec<u8>) -> Done {
        Ok(())
    }
    fn advertised(_: Moment, _: i8, manufacturer: Vec<ManufacturerData>, services: Vec<ServiceData>) -> Done {
        if let Some(serial) = services.iter().find(|s| s.service.high >> 32 == SERIAL_NUMBER).filter(|_| !TOLD.replace(true)) {
            gateway::identify(&[Fact { name: "serial".into(), value: String::from_utf8_lossy(&serial.bytes).into() }]);
        }
        let number = manufacturer.iter().find(|m| m.company == NO_COMPANY).and_then(|m| m.bytes.first_chunk().copied());
        if let Some(number) = number.map(u32::from_le_bytes) {
            let value = Value::Number(Decimal { mantissa: number.into(), exponent: 0 });
            gateway::emit(&[Observation {
                at: DeviceTime::NotTold,
                readings: vec![Reading { channel: 0, value, quality: Quality::empty() }],
            }]);
        }
        (0..BURN.get()).for_each(|n| _ = std::hint::black_box(n));
        Ok(())
    }
}

export!(Beacon);
