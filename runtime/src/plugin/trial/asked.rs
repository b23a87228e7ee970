//! Whether a plugin asks no more of its device than its manifest says: nothing else is ever allowed, so its writer learns that before a ward does.

use std::collections::BTreeMap;

use crate::capability::ble::What;
use crate::capability::serial::Pattern;
use crate::capability::{ble, modbus, serial};
use crate::config::{Link, Manifest};
use crate::contract::ble::Uuid;
use crate::contract::{Event, Said};

/// The most that one manifest asks for, where it says that.
pub(super) struct Asked {
    modbus: Option<modbus::Grant>,
    serial: Option<serial::Grant>,
    ble: Option<ble::Grant>,
    /// What the plugin was told of.
    handles: BTreeMap<u16, Uuid>,
}

impl Asked {
    pub fn of(manifest: &Manifest) -> Self {
        let most = manifest.most();
        Self {
            modbus: most.modbus.as_ref().and_then(|most| modbus::Grant::new("", most).ok()), // each was read when the package was
            serial: most.serial.as_ref().and_then(|most| serial::Grant::new("", most).ok()),
            ble: most.ble.as_ref().and_then(|most| ble::Grant::new("", most).ok()),
            handles: BTreeMap::new(),
        }
    }

    pub fn hears(&mut self, event: &Event) {
        if let Event::BleDiscovered { found, .. } = event {
            self.handles = found.iter().map(|one| (one.handle, one.uuid)).collect();
        }
    }

    /// The first thing that was asked and that stands in none of it: of which link, and what.
    pub fn lacks(&self, said: &[Said]) -> Option<(Link, String)> {
        said.iter().find_map(|one| match one {
            Said::ModbusSubmit(_, _, request) => Some((Link::Modbus, format!("to {}", self.modbus.as_ref()?.changes_beyond(request)?))),
            Said::SerialWrite(_, frame) => {
                self.serial.as_ref()?.permits(frame).err()?;
                Some((Link::Serial, format!("to write {}", Pattern::of(frame))))
            }
            Said::BleRead(_, handle) => self.lacks_of_ble(What::Read(*handle), "to read".into()),
            Said::BleSubscribe(_, handle) => self.lacks_of_ble(What::Subscribe(*handle), "to be notified of".into()),
            Said::BleWrite(_, handle, bytes, with_response) => {
                let words = format!("to write {} to", Pattern::of(bytes));
                self.lacks_of_ble(What::Write { handle: *handle, bytes: bytes.clone(), with_response: *with_response }, words)
            }
            _ => None,
        })
    }

    fn lacks_of_ble(&self, what: What, words: String) -> Option<(Link, String)> {
        let uuid = self.handles.get(&what.handle())?;
        self.ble.as_ref()?.permits(uuid, &what).err()?;
        Some((Link::Ble, format!("{words} {}", ble::shown(uuid))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::ble::{Characteristic, Properties};
    use crate::contract::modbus::{Register, Request, Span};

    const ASKS: &str = "[asks.serial]\nneeds = \"x\"\ngrant = 'serial = { port = \"/dev/x\", writes = [\"01 ??\"] }'\n\
                        [asks.modbus]\nneeds = \"x\"\ngrant = 'modbus = { bus = \"b\", servers = [1], allow = [{ function = 6, addresses = [\"77\"] }] }'\n\
                        [asks.ble]\nneeds = \"x\"\ngrant = 'ble = { address = \"..\", services = [\"1808\"], reads = [], writes = { \"2a52\" = [\"04 01\"] } }'\n";

    //= PROMISES.md#P338
    #[test]
    fn what_a_manifest_does_not_name_is_found_and_what_a_site_decides_is_not() {
        let asked = |asks: &str| {
            let text = format!("name = \"x\"\nversion = \"1.0.0\"\nlinks = [\"ble\", \"modbus\", \"serial\"]\n[channels]\n{asks}");
            let mut asked = Asked::of(&Manifest::parse(&text).unwrap());
            let uuid = Uuid { high: 0x2a52 << 32 | 0x1000, low: 0x8000_0080_5f9b_34fb };
            let found = vec![Characteristic { handle: 7, service: uuid, uuid, properties: Properties::empty() }];
            asked.hears(&Event::BleDiscovered { mtu: 23, found, who: None });
            asked
        };
        let all = asked(ASKS);
        let coil = |address| Said::ModbusSubmit(1, 9, Request::WriteSingleCoil(crate::contract::modbus::Coil { address, on: true }));
        let register = |address| Said::ModbusSubmit(1, 9, Request::WriteSingleRegister(Register { address, value: 1 }));
        let good = [
            Said::SerialWrite(1, vec![1, 9]),
            register(77),
            Said::ModbusSubmit(1, 9, Request::ReadInputRegisters(Span { address: 3, count: 1 })),
            Said::BleWrite(1, 7, vec![4, 1], true),
            Said::BleSubscribe(1, 7),
        ];
        assert_eq!(all.lacks(&good), None);
        for (bad, link, what) in [
            (Said::SerialWrite(1, vec![2]), Link::Serial, "to write 02"),
            (coil(1), Link::Modbus, "to switch the single coil 1"),
            (register(78), Link::Modbus, "to write the single register 78"),
            (Said::BleWrite(1, 7, vec![2, 1], true), Link::Ble, "to write 02 01 to 2a52"),
            (Said::BleRead(1, 7), Link::Ble, "to read 2a52"),
        ] {
            assert_eq!(all.lacks(&[bad]), Some((link, what.to_owned())));
        }
        assert_eq!(asked("").lacks(&[coil(1), Said::SerialWrite(1, vec![2]), Said::BleRead(1, 7)]), None, "it says no bound");
    }
}
