//! What a plugin implements: `Plugin` always, and one trait for each link it speaks.

use crate::{
    Alert, Channel, Description, LinkState, Missing, Moment, Observation, Opening, Outbox, Problem, Tag, Waveform, ble, modbus, serial,
};

/// What every event answers. A problem that is not fatal keeps what the call said; a fatal one drops it and restarts the plugin.
pub type Done = Result<(), Problem>;

/// What every plugin is. It has no clock, no files and no sockets: all it knows comes in as arguments.
pub trait Plugin: Sized + 'static {
    /// Describes its channels before their first use. `start.saved` is the latest `keep` of an earlier life.
    /// `start.about` tells `instance`, `gateway-version`, `saved-by`, and of a Bluetooth peripheral its `binding`: `address` is one for ever, of a
    /// `pool` it may be another on each link.
    fn open(now: Moment, start: Opening, out: &mut Outbox) -> Result<Self, Problem>;
    /// `now` is when it fell due. It goes off up to 1/64 of its length later, 20 ms at most, together with those of other instances.
    fn timer(&mut self, _now: Moment, _tag: Tag, _out: &mut Outbox) -> Done {
        Ok(())
    }
    fn durable(&mut self, _now: Moment, _tag: Tag, _out: &mut Outbox) -> Done {
        Ok(())
    }
    /// The same `id` may come again after a crash: keep it with the answer, and answer a repeat without acting.
    fn command(&mut self, _now: Moment, tag: Tag, _id: &str, name: &str, _argument: &[u8], out: &mut Outbox) -> Done {
        out.answer(tag, Err(&Problem::internal(format!("this plugin knows no command \"{name}\""))));
        Ok(())
    }
    fn close(&mut self, _now: Moment, _out: &mut Outbox) -> Done {
        Ok(())
    }
}

pub trait Modbus: Plugin {
    fn link_changed(&mut self, _now: Moment, _state: LinkState, _out: &mut Outbox) -> Done {
        Ok(())
    }
    fn reply(&mut self, now: Moment, tag: Tag, outcome: Result<modbus::Response, modbus::Failure>, out: &mut Outbox) -> Done;
}

pub trait Serial: Plugin {
    fn link_changed(&mut self, _now: Moment, _state: LinkState, _out: &mut Outbox) -> Done {
        Ok(())
    }
    fn written(&mut self, _now: Moment, _tag: Tag, _outcome: Result<(), serial::Failure>, _out: &mut Outbox) -> Done {
        Ok(())
    }
    /// Bytes come in any pieces: the same bytes must say the same, however they are cut.
    fn received(&mut self, now: Moment, bytes: &[u8], out: &mut Outbox) -> Done;
    fn faulted(&mut self, _now: Moment, _fault: serial::LineFault, _out: &mut Outbox) -> Done {
        Ok(())
    }
}

pub trait Ble: Plugin {
    fn link_changed(&mut self, _now: Moment, _state: LinkState, _out: &mut Outbox) -> Done {
        Ok(())
    }
    fn discovered(&mut self, _now: Moment, _mtu: u16, _found: Vec<ble::Characteristic>, _out: &mut Outbox) -> Done {
        Ok(())
    }
    fn reply(&mut self, _now: Moment, _tag: Tag, _outcome: Result<Vec<u8>, ble::Failure>, _out: &mut Outbox) -> Done {
        Ok(())
    }
    fn notified(&mut self, now: Moment, handle: ble::Handle, bytes: &[u8], out: &mut Outbox) -> Done;
    fn advertised(
        &mut self,
        _now: Moment,
        _rssi: i8,
        _manufacturer: Vec<ble::ManufacturerData>,
        _services: Vec<ble::ServiceData>,
        _out: &mut Outbox,
    ) -> Done {
        Ok(())
    }
}

/// A tap on other instances' channels; `input` is the index into the manifest's input table.
pub trait Filter: Plugin {
    fn bound(&mut self, _now: Moment, _input: Channel, _meaning: Description, _out: &mut Outbox) -> Done {
        Ok(())
    }
    fn unbound(&mut self, _now: Moment, _input: Channel, _out: &mut Outbox) -> Done {
        Ok(())
    }
    fn observed(&mut self, now: Moment, seen: Observation, out: &mut Outbox) -> Done;
    fn sampled(&mut self, _now: Moment, _block: Waveform, _out: &mut Outbox) -> Done {
        Ok(())
    }
    fn raised(&mut self, _now: Moment, _input: Channel, _alert: Alert, _out: &mut Outbox) -> Done {
        Ok(())
    }
    fn missed(&mut self, _now: Moment, _input: Channel, _count: Option<u64>, _because: Missing, _out: &mut Outbox) -> Done {
        Ok(())
    }
}
