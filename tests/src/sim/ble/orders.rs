//! What happens by itself as time goes on, and the orders of whoever runs the simulation.

use rustix::net::{SendFlags, send};
use zbus::Variant;

use super::bus::World;
use super::devices::{Ear, nothing};
use super::profiles::{Kind, MEASURED_GLUCOSE, Says, broadcast};
use super::tree::{ADAPTER, ADAPTER1, Adapter, CHARACTERISTIC1, DEVICE1, Dongle, stranger};

const SUPERVISION_MS: u64 = 2000; // a peripheral out of reach is given up after this
const FLAP_MS: u64 = 3000; // and one that flaps goes again after this
/// What a burst has behind each number: as much as an extended advertisement takes.
const BURST_BYTES: usize = 1600;
/// Strangers that come in one tick: thousands in a second, and no client's queue overflows.
const CROWD_EACH: u32 = 64;

impl World {
    /// A client went: nobody listens there any more.
    pub(super) fn left(&mut self, client: u32) {
        for characteristic in self.peripherals.iter_mut().flat_map(|p| &mut p.characteristics) {
            characteristic.ear.take_if(|ear| matches!(ear, Ear::Signal(owner) if *owner == client));
        }
        self.looks_no_more(client);
    }

    /// A client stops looking, or has gone.
    pub(super) fn looks_no_more(&mut self, client: u32) {
        let Some(adapter) = &mut self.adapter else { return };
        adapter.repeats.remove(&client);
        if adapter.looking.remove(&client) && adapter.looking.is_empty() {
            self.changed(ADAPTER, ADAPTER1, vec![("Discovering", false.into())]);
        }
    }

    /// Time goes on.
    pub(super) fn tick(&mut self, ms: u64) {
        let discovering = self.owner.is_some() && self.adapter.as_ref().is_some_and(Adapter::discovers);
        for at in 0..self.peripherals.len() {
            if discovering && self.peripherals[at].in_reach && !self.peripherals[at].known {
                self.peripherals[at].known = true;
                let objects = self.peripherals[at].objects();
                self.added(objects);
            }
            self.in_and_out_of_reach(at, ms);
            if self.peripherals[at].device.kind == Kind::Beacon {
                self.broadcast(at, ms, discovering);
            } else {
                self.speak(at, ms);
            }
        }
        if discovering {
            let passing = self.crowd.1.min(CROWD_EACH);
            let passed: Vec<_> = (self.crowd.0..self.crowd.0 + passing).map(stranger).collect();
            self.crowd = (self.crowd.0 + passing, self.crowd.1 - passing);
            self.added(passed);
        }
    }

    /// Whoever hears it hears it without a link; without repeats BlueZ tells of it once.
    fn broadcast(&mut self, at: usize, ms: u64, discovering: bool) {
        let repeats = self.adapter.as_ref().is_some_and(Adapter::hears_repeats);
        let speaking = self.speaking;
        let peripheral = &mut self.peripherals[at];
        peripheral.wait_ms = peripheral.wait_ms.saturating_sub(ms);
        let heard = discovering && peripheral.known && peripheral.in_reach && (repeats || !peripheral.told);
        if !speaking || !heard || peripheral.wait_ms > 0 {
            return;
        }
        peripheral.wait_ms = peripheral.device.kind.every_ms();
        self.advertise(at, 0);
    }

    fn advertise(&mut self, at: usize, more: usize) {
        let peripheral = &mut self.peripherals[at];
        let (mut bytes, says) = broadcast(peripheral.count);
        bytes.resize(bytes.len() + more, 0);
        peripheral.count += 1;
        (peripheral.broadcast, peripheral.told) = (bytes.clone(), true);
        peripheral.note_broadcast(&bytes, says);
        let (path, properties) = (peripheral.path(), peripheral.broadcasts());
        self.changed(&path, DEVICE1, properties);
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
        if !peripheral.queue.is_empty() {
            peripheral.wait_ms = peripheral.device.kind.every_ms();
            let together = peripheral.together;
            return (0..together).for_each(|_| self.tell_stored(at));
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

    /// The next of what was asked of a memory, while it is in reach.
    fn tell_stored(&mut self, at: usize) {
        let peripheral = &mut self.peripherals[at];
        let Some((index, bytes, says)) = peripheral.queue.pop_front().filter(|_| peripheral.in_reach) else { return };
        let record = peripheral.characteristics[index].uuid == MEASURED_GLUCOSE;
        if record && peripheral.meter.cut_after.take_if(|left| *left == 0).is_some() {
            return self.vanish(at);
        }
        peripheral.meter.cut_after.iter_mut().for_each(|left| *left -= u32::from(record));
        self.tell(at, index, &bytes, says);
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
        let number = |word: &str| word.parse::<u32>().map_err(|_| format!("{word} is no number"));
        match words[..] {
            ["on"] => self.speaking = true,
            ["off"] => self.speaking = false,
            ["busy", times] => self.busy = number(times)?,
            ["crowd", strangers] => self.crowd.1 += number(strangers)?,
            ["adapter", "gone"] => self.unplugged(),
            ["adapter", "on" | "off"] => {
                let on = words[1] == "on";
                self.adapter.as_mut().ok_or("there is no adapter")?.powered = on;
                self.changed(ADAPTER, ADAPTER1, vec![("Powered", on.into())]);
            }
            ["adapter", "back"] => {
                self.adapter = Some(Adapter::default());
                let properties = self.adapter.as_ref().map(Adapter::properties).unwrap_or_default();
                self.added(vec![(ADAPTER.into(), [(ADAPTER1.to_owned(), properties)].into())]);
            }
            ["dongle", "in"] => {
                self.dongle = Dongle::In;
                self.added(self.over_the_dongle());
            }
            ["dongle", "bonded"] => self.dongle = Dongle::Bonded,
            ["bluetoothd", "down"] => self.bluetoothd_down(),
            ["bluetoothd", "up"] => {
                self.adapter = Some(Adapter::default());
                self.lives += 1;
                self.owned_by(Some(format!(":0.{}", self.lives)));
            }
            [what, name, ref how_much @ ..] if how_much.len() < 2 => {
                let at = self.peripherals.iter().position(|p| p.device.name == name);
                let at = at.ok_or_else(|| format!("no peripheral is called {name}"))?;
                match how_much {
                    [] => self.befall(at, what)?,
                    _ => self.befall_so_much(at, what, how_much[0].parse().map_err(|_| format!("{} is no number", how_much[0]))?)?,
                }
            }
            _ => return Err(format!("{line:?} is no order")),
        }
        Ok(())
    }

    fn befall(&mut self, at: usize, what: &str) -> Result<(), String> {
        let peripheral = &mut self.peripherals[at];
        match what {
            "vanish" => self.vanish(at),
            "return" => (peripheral.in_reach, peripheral.back_ms) = (true, None),
            "mute" => peripheral.mute = true,
            "unmute" => peripheral.mute = false,
            "guard" => peripheral.guarded = true,
            // by another program than ours
            "bond" => {
                (peripheral.paired, peripheral.bonded) = (true, true);
                let path = peripheral.path();
                self.changed(&path, DEVICE1, vec![("Paired", true.into()), ("Bonded", true.into())]);
            }
            "opaque" => peripheral.opaque = true,
            "unsignal" => peripheral.unsignalled = true,
            "clear" => {
                peripheral.opaque = false;
                if peripheral.connected && !peripheral.resolved {
                    self.resolve(at);
                }
            }
            // as after a change of its services: its sockets end, and the link does not
            "deafen" => peripheral.characteristics.iter_mut().for_each(|c| c.ear = None),
            // a value of no bytes, from each characteristic that somebody listens to
            "blank" => {
                let heard: Vec<_> = (0..peripheral.characteristics.len()).filter(|c| peripheral.characteristics[*c].heard()).collect();
                heard.into_iter().for_each(|index| self.tell(at, index, &[], nothing()));
            }
            // BlueZ forgets who has not been heard for 30 s
            "forget" => {
                self.vanish(at);
                self.disconnect(at);
                self.peripherals[at].forgotten();
                let objects = self.peripherals[at].objects();
                if std::mem::take(&mut self.peripherals[at].known) {
                    self.removed(objects);
                }
            }
            other => return Err(format!("{other} is no order to a peripheral")),
        }
        Ok(())
    }

    fn befall_so_much(&mut self, at: usize, what: &str, much: i32) -> Result<(), String> {
        let peripheral = &mut self.peripherals[at];
        match what {
            "flap" => {
                peripheral.flaps = much.cast_unsigned();
                self.vanish(at);
            }
            "cut" => peripheral.meter.cut_after = Some(much.cast_unsigned()),
            "together" => peripheral.together = much.cast_unsigned(),
            "hold" => peripheral.holds = much.cast_unsigned(),
            "rssi" => {
                peripheral.rssi = much as i16;
                let (path, rssi, known) = (peripheral.path(), peripheral.rssi, peripheral.known);
                if known {
                    self.changed(&path, DEVICE1, vec![("RSSI", rssi.into())]);
                }
            }
            "burst" => (0..much).for_each(|_| self.advertise(at, BURST_BYTES)),
            other => return Err(format!("{other} is no order to a peripheral")),
        }
        Ok(())
    }

    /// The adapter is pulled out: its objects go, and all links.
    fn unplugged(&mut self) {
        for at in 0..self.peripherals.len() {
            self.disconnect(at);
            self.peripherals[at].forgotten();
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
            peripheral.forgotten();
            (peripheral.known, peripheral.paired) = (peripheral.bonded, peripheral.bonded);
        }
        self.agent = None;
        self.crowd.0 = 0;
        self.owned_by(None);
    }
}
