//! The Ivy 450C bedside monitor: glue between its serial port and what `monitor` says. `decode` is pure.

pub mod alerts;
pub mod channels;
pub mod decode;
mod loss;
mod monitor;

use wardgate_sdk::frame::Framer;
use wardgate_sdk::serial::LineFault;
use wardgate_sdk::*;

use decode::AnsarB;
use monitor::Monitor;

pub struct Ivy450c {
    framer: Framer<AnsarB>,
    monitor: Monitor,
}

impl Plugin for Ivy450c {
    fn open(_now: Moment, start: Opening, out: &mut Outbox) -> Result<Self, Problem> {
        Ok(Self { framer: Framer::new(AnsarB), monitor: Monitor::open(&start, out)? })
    }

    fn timer(&mut self, _now: Moment, _tag: Tag, out: &mut Outbox) -> Done {
        self.monitor.silent(out);
        Ok(())
    }

    fn close(&mut self, now: Moment, out: &mut Outbox) -> Done {
        self.monitor.close(now, out);
        Ok(())
    }
}

impl Serial for Ivy450c {
    fn received(&mut self, now: Moment, bytes: &[u8], out: &mut Outbox) -> Done {
        let Self { framer, monitor } = self;
        framer.feed(bytes, |found| monitor.found(now, found, out));
        Ok(())
    }

    fn faulted(&mut self, _now: Moment, fault: LineFault, out: &mut Outbox) -> Done {
        let held = self.framer.drop_waiting();
        self.monitor.line_fault(held, fault, out);
        Ok(())
    }

    fn link_changed(&mut self, _now: Moment, state: LinkState, out: &mut Outbox) -> Done {
        self.framer.drop_waiting();
        self.monitor.link(state, out);
        Ok(())
    }
}

plugin!(Ivy450c: serial);
