//! What happens by itself as time goes on, and the orders of whoever runs the simulation.

use rustix::net::{SendFlags, send};
use zbus::Variant;

use super::bus::World;
use super::devices::Ear;
use super::profiles::{CONTROL_POINT, Says};
use super::tree::{ADAPTER, ADAPTER1, Adapter, CHARACTERISTIC1};

const SUPERVISION_MS: u64 = 2000; // a peripheral out of reach is given up after this
const FLAP_MS: u64 = 3000; // and one that flaps goes again after this

impl World {
    /// A client went: nobody listens there any more.
    pub(super) fn left(&mut self, client: u32) {
        for characteristic in self.peripherals.iter_mut().flat_map(|p| &mut p.characteristics) {
            characteristic.ear.take_if(|ear| matches!(ear, Ear::Signal(owner) if *owner == client));
        }
    }

    /// Time goes on.
    pub(super) fn tick(&mut self, ms: u64) {
        let discovering = self.owner.is_some() && self.adapter.as_ref().is_some_and(|a| a.powered && a.discovering);
        for at in 0..self.peripherals.len() {
            if discovering && self.peripherals[at].in_reach && !self.peripherals[at].known {
                self.peripherals[at].known = true;
                let objects = self.peripherals[at].objects();
                self.added(objects);
            }
            self.in_and_out_of_reach(at, ms);
            self.speak(at, ms);
        }
    }

    /// A peripheral out of reach loses its link after a while, and one that flaps comes back.
    fn in_and_out_of_reach(&mut self, at: usize, ms: u64) {
        let Some(left) = self.peripherals[at].back_ms else { return };
        if left > ms {
            self.peripherals[at].back_ms = Some(left - ms);
            return;
        }
        self.peripherals[at].back_ms = None;
        if !self.peripherals[at].in_reach {
            self.disconnect(at);
            if self.peripherals[at].flaps > 0 {
                self.peripherals[at].in_reach = true;
                self.peripherals[at].back_ms = Some(FLAP_MS);
            }
        } else if self.peripherals[at].flaps > 0 {
            self.peripherals[at].flaps -= 1;
            if self.peripherals[at].flaps > 0 {
                self.vanish(at);
            }
        }
    }

    fn vanish(&mut self, at: usize) {
        self.peripherals[at].in_reach = false;
        self.peripherals[at].back_ms = Some(SUPERVISION_MS);
    }

    fn speak(&mut self, at: usize, ms: u64) {
        let speaking = self.speaking;
        let peripheral = &mut self.peripherals[at];
        peripheral.wait_ms = peripheral.wait_ms.saturating_sub(ms);
        if !peripheral.connected || !peripheral.in_reach || peripheral.mute || peripheral.wait_ms > 0 {
            return;
        }
        if let Some((index, bytes, says)) = peripheral.queue.pop_front() {
            let record = peripheral.characteristics[index].uuid != CONTROL_POINT;
            peripheral.wait_ms = peripheral.device.kind.every_ms();
            if record && peripheral.meter.cut_after.take_if(|left| *left == 0).is_some() {
                return self.vanish(at);
            }
            peripheral.meter.cut_after.iter_mut().for_each(|left| *left -= u32::from(record));
            return self.tell(at, index, &bytes, says);
        }
        let Some((uuid, bytes, says)) = peripheral.value().filter(|_| speaking) else { return };
        let heard: Vec<_> = (0..peripheral.characteristics.len())
            .filter(|c| peripheral.characteristics[*c].uuid == uuid && peripheral.characteristics[*c].heard())
            .collect();
        peripheral.wait_ms = peripheral.device.kind.every_ms();
        peripheral.count += u32::from(!heard.is_empty());
        for index in heard {
            self.tell(at, index, &bytes, says.clone());
        }
    }

    /// One notification, and a note of it when it went out.
    fn tell(&mut self, at: usize, index: usize, bytes: &[u8], says: Says) {
        let path = self.peripherals[at].characteristic_path(index);
        let went = match &self.peripherals[at].characteristics[index].ear {
            Some(Ear::Socket(ours)) => match send(ours, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                Ok(_) => true,
                Err(rustix::io::Errno::AGAIN) => true, // sent and gone: nobody reads it
                Err(_) => {
                    self.peripherals[at].characteristics[index].ear = None;
                    false
                }
            },
            Some(Ear::Signal(_)) => {
                self.changed(&path, CHARACTERISTIC1, vec![("Value", Variant::from(bytes.to_vec()))]);
                true
            }
            None => false,
        };
        if went {
            self.peripherals[at].note(index, bytes, says);
        }
    }

    /// One line of what may be asked of the simulation.
    pub(super) fn order(&mut self, line: &str) -> Result<(), String> {
        let words: Vec<_> = line.split_whitespace().collect();
        let named = |name: &str| {
            let at = self.peripherals.iter().position(|p| p.device.name == name);
            at.ok_or_else(|| format!("no peripheral is called {name}"))
        };
        let number = |word: &str| word.parse::<u32>().map_err(|_| format!("{word} is no number"));
        match words[..] {
            ["on"] => self.speaking = true,
            ["off"] => self.speaking = false,
            ["busy", times] => self.busy = number(times)?,
            ["adapter", "gone"] => self.unplugged(),
            ["adapter", "back"] => {
                self.adapter = Some(Adapter::default());
                let properties = self.adapter.as_ref().map(Adapter::properties).unwrap_or_default();
                self.added(vec![(ADAPTER.into(), [(ADAPTER1.to_owned(), properties)].into())]);
            }
            ["bluetoothd", "down"] => self.bluetoothd_down(),
            ["bluetoothd", "up"] => {
                self.adapter = Some(Adapter::default());
                self.lives += 1;
                self.owned_by(Some(format!(":0.{}", self.lives)));
            }
            ["vanish", name] => {
                let at = named(name)?;
                self.vanish(at);
            }
            ["return", name] => {
                let at = named(name)?;
                self.peripherals[at].in_reach = true;
                self.peripherals[at].back_ms = None;
            }
            ["mute", name] => {
                let at = named(name)?;
                self.peripherals[at].mute = true;
            }
            ["unmute", name] => {
                let at = named(name)?;
                self.peripherals[at].mute = false;
            }
            ["flap", name, times] => {
                let (at, times) = (named(name)?, number(times)?);
                self.peripherals[at].flaps = times;
                self.vanish(at);
            }
            ["cut", name, records] => {
                let (at, records) = (named(name)?, number(records)?);
                self.peripherals[at].meter.cut_after = Some(records);
            }
            _ => return Err(format!("{line:?} is no order")),
        }
        Ok(())
    }

    /// The adapter is pulled out: its objects go, and all links.
    fn unplugged(&mut self) {
        for at in 0..self.peripherals.len() {
            self.disconnect(at);
            let objects = self.peripherals[at].objects();
            if std::mem::take(&mut self.peripherals[at].known) {
                self.removed(objects);
            }
        }
        if let Some(adapter) = self.adapter.take() {
            self.removed(vec![(ADAPTER.into(), [(ADAPTER1.to_owned(), adapter.properties())].into())]);
        }
    }

    /// It ends without a word about its objects; what was bonded is on its disk.
    fn bluetoothd_down(&mut self) {
        for peripheral in &mut self.peripherals {
            peripheral.drop_link();
            peripheral.known = peripheral.paired;
        }
        self.agent = None;
        self.owned_by(None);
    }
}
