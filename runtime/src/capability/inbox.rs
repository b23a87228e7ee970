//! What waits for one instance, in the order in which it happened; one type for all links.
//!
//! A link never waits for an instance. So that nothing grows without bound either, each kind of event has its own rule:
//! - **bytes** are bounded by their number ([`inbox`]'s `bytes_max`: ten seconds of the line). What does not fit is dropped as it
//!   comes, one `faulted(overrun)` stands where the hole is, and bytes are taken again once the instance has come to that mark:
//!   then the queue before it is empty, so a slow instance sees few large holes and not many small ones;
//! - **answers** have their room reserved when the question is taken (the permit in [`Answer`] goes back when the instance takes the
//!   answer), so they always fit;
//! - **notifications** of a Bluetooth peripheral are bounded by their bytes in the same way. The mark is a `BleOverran`, which is for the
//!   supervisor: what a plugin hears has no word for it;
//! - **link changes and line faults** count as events; when there are too many they make the same hole, and the link's state at its
//!   end is told behind the mark;
//! - **what a filter hears of other instances** is bounded by its bytes. What does not fit is dropped, and one `FilterOverran` stands where the hole
//!   is; when the instance has come to that mark, it is told anew what it hears by whoever fills it.
//!
//! - **frames of a bus**, where a site keeps them, count as events; with too many of those they are dropped, and whoever brought them counts it.
//!
//! `faulted(overrun)` comes from here only: a supervisor that takes one knows that the gateway lost bytes (`gateway-overrun`).

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::{Notify, OwnedSemaphorePermit};

use super::quota::Quota;
use crate::contract::serial::LineFault;
use crate::contract::types::Moment;
use crate::contract::{Event, Frame, Held as _};

/// The longest piece handed to a plugin at once.
pub const PIECE_BYTES_MAX: usize = 1024; // one copy into the guest, far below its memory; a second at 9600 baud
/// While pieces wait, one that came this soon after the first byte of the one before joins it.
pub const JOIN_NS_MAX: u64 = 5_000_000; // a waveform's moment may be off by no more; it bounds a second of line to 200 events
/// What a filter hears and has not taken, as the gateway holds it: twice the most that a call may say at once.
pub const TAPPED_BYTES_MAX: usize = 2 << 20;
/// Events that wait, answers apart.
pub const EVENTS_MAX: usize = 4096; // ten seconds of pieces 5 ms apart, and as many link events again

/// Something of the supervisor's own did not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{EVENTS_MAX} events wait")]
pub struct Full;

/// An inbox of one instance: what fills it and what empties it. `bytes_max` is [`crate::capability::serial::Grant::inbox_bytes`], or 0.
pub fn inbox(instance: Arc<str>, bytes_max: usize) -> (Sender, Inbox) {
    let shared = Arc::new(Shared { instance, bytes_max, waiting: Mutex::default(), news: Notify::new() });
    (Sender(shared.clone()), Inbox(shared))
}

/// The side of the links.
#[derive(Clone)]
pub struct Sender(Arc<Shared>);

/// The side of the supervisor.
pub struct Inbox(Arc<Shared>);

/// Room for one answer. It is bound to the run of the instance that asked: after [`Inbox::reopen`] it is given to nobody.
pub struct Answer {
    to: Sender,
    run: u64,
    permit: OwnedSemaphorePermit,
}

struct Shared {
    instance: Arc<str>,
    bytes_max: usize,
    waiting: Mutex<Waiting>,
    news: Notify,
}

#[derive(Default)]
struct Waiting {
    queue: VecDeque<Entry>,
    bytes: usize,
    /// Entries without a permit.
    events: usize,
    /// The mark of a hole waits in the queue; until it is taken nothing unreserved is.
    hole: bool,
    overruns: u64,
    bytes_lost: u64,
    run: u64,
    /// Of other instances, for a filter.
    tapped: usize,
    /// The mark of a hole in that waits in the queue.
    tapped_hole: bool,
    /// Newest state told by each link, and whether it fell into the hole.
    links: [Option<(Moment, Event, bool)>; 3],
    /// What was found on the peripheral, while its link is up: a new run is told too.
    discovered: Option<(Moment, Event, bool)>,
    /// Boot and nanoseconds of the newest event taken.
    last: (u64, u64),
}

struct Entry {
    moment: Moment,
    /// When its first byte came, where pieces were joined.
    first_ns: u64,
    event: Event,
    permit: Option<OwnedSemaphorePermit>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().expect("no holder panics")
    }

    fn change(&self, change: impl FnOnce(&mut Waiting)) {
        change(&mut self.lock());
        self.news.notify_one();
    }
}

impl Sender {
    pub fn instance(&self) -> &Arc<str> {
        &self.0.instance
    }

    /// Bytes as they were read, never more than a few KiB at once.
    pub fn bytes(&self, moment: Moment, bytes: &[u8]) {
        self.0.change(|w| {
            for piece in bytes.chunks(PIECE_BYTES_MAX) {
                w.bytes(moment, piece, self.0.bytes_max);
            }
        });
    }

    pub fn fault(&self, moment: Moment, fault: LineFault) {
        self.0.change(|w| w.fault(moment, fault));
    }

    /// What a peripheral said: `BleNotified`, `BleIndicated` or `BleAdvertised`.
    pub fn notified(&self, moment: Moment, event: Event) {
        self.0.change(|w| w.notified(moment, event, self.0.bytes_max));
    }

    /// Some of what a peripheral said is lost from here on, until the instance has come to this mark.
    pub fn lost(&self, moment: Moment) {
        self.0.change(|w| {
            if !w.hole {
                w.overrun(moment, Event::BleOverran);
            }
        });
    }

    /// `BleDiscovered`, after the link came up.
    pub fn discovered(&self, moment: Moment, event: Event) {
        self.0.change(|w| {
            w.discovered = Some((moment, event.clone(), w.hole));
            if !w.hole {
                w.event(moment, event);
            }
        });
    }

    /// `ModbusLink`, `SerialLink` or `BleLink`; a state that was told already is not told again.
    pub fn link(&self, moment: Moment, event: Event) {
        self.0.change(|w| w.link(moment, event));
    }

    /// What another instance said, for a filter.
    pub fn tapped(&self, moment: Moment, event: Event) {
        self.0.change(|w| w.tapped(moment, event));
    }

    /// What went over a bus for this instance, as on the wire; it outlives the run that asked. False: there was no room.
    pub fn frames(&self, moment: Moment, frames: Vec<Frame>) -> bool {
        self.tell(moment, Event::ModbusFrames(frames)).is_ok()
    }

    /// What is neither the link's nor an answer of it: timers, commands, `durable`, `close`. Bounded by the caller's own limits.
    pub fn tell(&self, moment: Moment, event: Event) -> Result<(), Full> {
        let mut w = self.0.lock();
        if w.events >= EVENTS_MAX {
            return Err(Full);
        }
        w.push(Entry { moment, first_ns: moment.monotonic_ns, event, permit: None });
        drop(w);
        self.0.news.notify_one();
        Ok(())
    }

    /// Reserves room for an answer to the run that is open now; None when the quota has none left.
    pub(super) fn answer(&self, quota: &Quota) -> Option<Answer> {
        let run = self.run();
        Some(Answer { run, to: self.clone(), permit: quota.take(run)? })
    }

    /// Counts how often the instance was opened anew.
    pub(super) fn run(&self) -> u64 {
        self.0.lock().run
    }

    pub fn overruns(&self) -> u64 {
        self.0.lock().overruns
    }

    pub fn bytes_lost(&self) -> u64 {
        self.0.lock().bytes_lost
    }
}

impl Answer {
    pub fn give(self, moment: Moment, event: Event) {
        self.to.0.change(|w| {
            if w.run == self.run {
                w.push(Entry { moment, first_ns: moment.monotonic_ns, event, permit: Some(self.permit) });
            }
        });
    }

    pub(super) fn inbox(&self) -> &Sender {
        &self.to
    }

    /// Whoever asked is gone: there is no reason left to ask the device.
    pub fn is_stale(&self) -> bool {
        self.to.0.lock().run != self.run
    }
}

impl Inbox {
    /// Waits for the next event. Nothing is lost when the wait is given up.
    pub async fn recv(&self) -> (Moment, Event) {
        loop {
            if let Some(next) = self.try_recv() {
                return next;
            }
            self.0.news.notified().await;
        }
    }

    pub fn try_recv(&self) -> Option<(Moment, Event)> {
        self.0.lock().take()
    }

    /// Just before `open` of a new run: forgets the answers and timers that the run before it had waiting, and what is still on its way
    /// to it. The bytes of the line are the device's and not that run's: they stay, up to the inbox's own bound, each with its own time, and
    /// where some were dropped the mark stays too. The state of each link is told anew before them. The answer is when the new run begins for
    /// its plugin: with the oldest of what waits, or else `now`. What was said a minute ago is not told as of now.
    pub fn reopen(&self, now: Moment) -> Moment {
        let mut begins = now;
        self.0.change(|w| {
            if let Some(oldest) = w.queue.iter().find(|e| is_of_the_line(&e.event)).map(|e| e.moment)
                && oldest.boot == now.boot
            {
                begins.monotonic_ns = oldest.monotonic_ns.min(now.monotonic_ns).max(w.last.1);
                begins.wall = oldest.wall;
            }
            let now = begins;
            // a change of a link stays where it stands between what two devices said; ahead of all of it the newest state, told below, is enough
            let first = w.queue.iter().position(|e| is_of_the_line(&e.event)).unwrap_or(w.queue.len());
            let mut at = 0;
            w.queue.retain(|e| {
                at += 1;
                let between = at > first && matches!(e.event, Event::SerialLink(_) | Event::BleLink(_) | Event::BleDiscovered { .. });
                between || is_of_the_line(&e.event)
            });
            // what is told below is of the newest link: what still waits of one before it is not said by who is there now
            let doubtful = w.hole || w.queue.iter().any(|e| matches!(e.event, Event::BleLink(_)));
            w.events = w.queue.len();
            (w.tapped, w.tapped_hole) = (0, false);
            w.run += 1;
            if let Some((_, event, _)) = w.discovered.clone() {
                w.discovered = Some((now, event.clone(), false));
                let event = if doubtful { nameless(event) } else { event };
                w.queue.push_front(Entry { moment: now, first_ns: now.monotonic_ns, event, permit: None });
                w.events += 1;
            }
            for at in (0..w.links.len()).rev() {
                if let Some((_, event, _)) = w.links[at].clone() {
                    w.links[at] = Some((now, event.clone(), false));
                    w.queue.push_front(Entry { moment: now, first_ns: now.monotonic_ns, event, permit: None });
                    w.events += 1;
                }
            }
        });
        begins
    }

    /// What the line said and nobody heard is given up, and the hole in it too. What went over a bus stays: that is an archive's.
    pub fn give_up_the_line(&self) {
        self.0.change(|w| {
            w.queue.retain(|e| !is_of_the_line(&e.event) || matches!(e.event, Event::ModbusFrames(_)));
            w.events = w.queue.iter().filter(|e| e.permit.is_none()).count();
            w.bytes = 0;
            if w.hole {
                w.hole_ends();
            }
        });
    }

    /// When the next event happened, where one waits.
    pub fn next_ns(&self) -> Option<u64> {
        self.0.lock().queue.front().map(|e| e.moment.monotonic_ns)
    }

    pub fn is_empty(&self) -> bool {
        self.0.lock().queue.is_empty()
    }
}

impl Waiting {
    fn push(&mut self, entry: Entry) {
        self.events += usize::from(entry.permit.is_none());
        self.queue.push_back(entry);
    }

    fn event(&mut self, moment: Moment, event: Event) {
        self.push(Entry { moment, first_ns: moment.monotonic_ns, event, permit: None });
    }

    fn overrun(&mut self, moment: Moment, mark: Event) {
        self.hole = true;
        self.overruns += 1;
        self.event(moment, mark);
    }

    fn notified(&mut self, moment: Moment, event: Event, bytes_max: usize) {
        let bytes = notified_bytes(&event);
        if !self.hole && (self.bytes + bytes > bytes_max || self.events >= EVENTS_MAX) {
            self.overrun(moment, Event::BleOverran);
        }
        if self.hole {
            self.bytes_lost += bytes as u64;
            return;
        }
        self.bytes += bytes;
        self.event(moment, event);
    }

    fn bytes(&mut self, moment: Moment, piece: &[u8], bytes_max: usize) {
        if !self.hole && (self.bytes + piece.len() > bytes_max || self.events >= EVENTS_MAX) {
            self.overrun(moment, Event::SerialFaulted(LineFault::Overrun));
        }
        if self.hole {
            self.bytes_lost += piece.len() as u64;
            return;
        }
        self.bytes += piece.len();
        if let Some(Entry { moment: at, first_ns, event: Event::SerialReceived(held), .. }) = self.queue.back_mut()
            && held.len() + piece.len() <= PIECE_BYTES_MAX
            && moment.monotonic_ns.saturating_sub(*first_ns) <= JOIN_NS_MAX
        {
            held.extend_from_slice(piece);
            *at = moment;
            return;
        }
        self.event(moment, Event::SerialReceived(piece.to_vec()));
    }

    fn fault(&mut self, moment: Moment, fault: LineFault) {
        let event = Event::SerialFaulted(fault);
        if self.queue.back().is_some_and(|last| last.event == event) {
            return; // a line at the wrong speed faults with every byte: one event says it
        }
        if !self.hole && self.events >= EVENTS_MAX {
            self.overrun(moment, Event::SerialFaulted(LineFault::Overrun));
        }
        if !self.hole {
            self.event(moment, event);
        }
    }

    fn tapped(&mut self, moment: Moment, event: Event) {
        if self.tapped_hole {
            return;
        }
        let bytes = tapped_bytes(&event);
        if self.tapped + bytes > TAPPED_BYTES_MAX {
            self.tapped_hole = true;
            self.overruns += 1;
            return self.event(moment, Event::FilterOverran);
        }
        self.tapped += bytes;
        self.event(moment, event);
    }

    fn link(&mut self, moment: Moment, event: Event) {
        let at = match event {
            Event::ModbusLink(_) => 0,
            Event::SerialLink(_) => 1,
            Event::BleLink(_) => 2,
            _ => unreachable!("only the links tell their states"),
        };
        if self.links[at].as_ref().is_some_and(|(_, told, _)| *told == event) {
            return;
        }
        if !self.hole && self.events >= EVENTS_MAX {
            let mark = if at == 2 { Event::BleOverran } else { Event::SerialFaulted(LineFault::Overrun) };
            self.overrun(moment, mark);
        }
        if at == 2 {
            self.discovered = None; // of the link before
        }
        self.links[at] = Some((moment, event.clone(), self.hole));
        if !self.hole {
            self.event(moment, event);
        }
    }

    fn take(&mut self) -> Option<(Moment, Event)> {
        let entry = self.queue.pop_front()?;
        self.events -= usize::from(entry.permit.is_none());
        match &entry.event {
            Event::SerialReceived(bytes) => self.bytes -= bytes.len(),
            Event::SerialFaulted(LineFault::Overrun) | Event::BleOverran => self.hole_ends(),
            Event::BleNotified(..) | Event::BleIndicated(..) | Event::BleAdvertised { .. } => self.bytes -= notified_bytes(&entry.event),
            Event::FilterOverran => self.tapped_hole = false,
            event => self.tapped -= tapped_bytes(event),
        }
        // Two links read the clock before they take the lock: for the plugin time still never goes back.
        let mut moment = entry.moment;
        if moment.boot == self.last.0 {
            moment.monotonic_ns = moment.monotonic_ns.max(self.last.1);
        }
        self.last = (moment.boot, moment.monotonic_ns);
        Some((moment, entry.event))
    }

    fn hole_ends(&mut self) {
        self.hole = false;
        for at in 0..self.links.len() {
            if let Some((moment, event, unsaid @ true)) = &mut self.links[at] {
                *unsaid = false;
                let entry = Entry { moment: *moment, first_ns: moment.monotonic_ns, event: event.clone(), permit: None };
                // Answers went on meanwhile: the change takes its place among them.
                let before = self.queue.iter().take_while(|e| e.moment.monotonic_ns <= moment.monotonic_ns).count();
                self.queue.insert(before, entry);
                self.events += 1;
            }
        }
        if let Some((moment, event, unsaid @ true)) = self.discovered.clone() {
            self.discovered = Some((moment, event.clone(), !unsaid));
            let before = self.queue.iter().take_while(|e| e.moment.monotonic_ns <= moment.monotonic_ns).count();
            self.queue.insert(before, Entry { moment, first_ns: moment.monotonic_ns, event, permit: None });
            self.events += 1;
        }
    }
}

/// What the device said, and what is missing of it.
fn is_of_the_line(event: &Event) -> bool {
    use Event::{BleAdvertised, BleIndicated, BleNotified, BleOverran, ModbusFrames, SerialFaulted, SerialReceived};
    let ble = matches!(event, BleNotified(..) | BleIndicated(..) | BleAdvertised { .. } | BleOverran);
    ble || matches!(event, SerialReceived(_) | SerialFaulted(_) | ModbusFrames(_))
}

fn nameless(event: Event) -> Event {
    match event {
        Event::BleDiscovered { mtu, found, .. } => Event::BleDiscovered { mtu, found, who: None },
        other => other,
    }
}

/// As the gateway holds it.
fn notified_bytes(event: &Event) -> usize {
    let held = match event {
        Event::BleNotified(_, bytes) | Event::BleIndicated(_, bytes) => bytes.len(),
        Event::BleAdvertised { manufacturer, services, .. } => {
            let one = |bytes: &Vec<u8>| size_of::<crate::contract::ble::ServiceData>() + bytes.len();
            manufacturer.iter().map(|m| one(&m.bytes)).sum::<usize>() + services.iter().map(|s| one(&s.bytes)).sum::<usize>()
        }
        _ => 0,
    };
    size_of::<Entry>() + held
}

/// As the gateway holds it; 0 for what is no filter's.
fn tapped_bytes(event: &Event) -> usize {
    let held = match event {
        Event::FilterBound(_, meaning) => meaning.held_bytes(),
        Event::FilterObserved(seen) => seen.held_bytes(),
        Event::FilterSampled(block) => block.held_bytes(),
        Event::FilterRaised(_, alert) => alert.held_bytes(),
        Event::FilterUnbound(_) | Event::FilterMissed(..) => 0,
        _ => return 0,
    };
    size_of::<Entry>() + held
}

#[cfg(test)]
mod tests;
