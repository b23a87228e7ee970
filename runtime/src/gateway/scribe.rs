//! The corridor's one task that takes down what instances say and makes it durable: pipeline and store.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tracing::{debug, error, warn};
use wardgate_wire as wire;

use super::STOP_S_MAX;
use super::clock::{self, moment};
use super::rhythm::Rhythm;
use crate::contract::types;
use crate::fault::{Fault, Guilty};
use crate::pipeline::{Binding, Claim, Pipeline, PipelineError, Sealed, Urgency};
use crate::plugin::{FromPipeline, Spoken, ToPipeline};
use crate::status::{Gap, Status};
use crate::store::{Group, Held, Record, Room, Shelf, Store, StoreError};

/// An alert or a device that waits for its acknowledgement brings a commit forward, but the flash gets its rest.
const URGENT_COMMIT_MS_MIN: u64 = 100;
/// A commit that failed is tried again after this: a card that stalls needs seconds, and nothing is lost meanwhile.
const COMMIT_RETRY_MS: u64 = 1000;
/// What waits in memory while the card stalls: behind it instances wait, and behind them their inboxes.
const WAITING_BYTES_MAX: usize = 4 << 20;
/// A disconnect or reconnect begins a new epoch only when the present one is this old: a flapping link makes no epochs.
const EPOCH_AGE_S_MIN: u64 = 60;
/// Offline, the newest minutes are sent first when the link comes back: so epochs are short in the first hour.
const EPOCH_OFFLINE_S: u64 = 60;
const EPOCH_OFFLINE_SHORT_FOR_S: u64 = 3600;
/// Otherwise: short enough that a receiver's books close soon, long enough that closings cost nothing.
const EPOCH_S: u64 = 900;
/// So many batches of one class waiting in the present epoch, a minute of commits, mean that the link is too thin for what is said: the newest goes
/// first again in a new epoch, and what it leaves behind is backlog.
const BEHIND_BATCHES: u64 = 60;
/// How often the wall clock is looked at for a step, and the live lane for falling behind.
const CLOCK_LOOK_S: u64 = 10;
/// A wall clock that moved by more than this against the monotonic one was set.
const CLOCK_STEP_NS: u64 = 50_000_000;

/// What a commit that fails means while it is tried again: instances wait behind it, and behind them the inboxes of their lines.
const MEANWHILE: &str = "What is stored is kept; new values wait in memory, and what that cannot hold will be a gap";

/// The end of a gateway that could not write its last group.
pub(super) fn unwritten(why: impl std::fmt::Display) -> Fault {
    let what = format!("stopped with values in memory that could not be stored: {why}");
    let remedy = "what was stored before is kept; what came after it will show as a gap once the gateway runs with a store that takes it";
    Fault::new(Guilty::Store, what, remedy)
}

/// Takes down what instances say, and makes it durable.
pub(super) struct Scribe {
    pub pipeline: Pipeline,
    /// Away while a commit runs on a blocking thread.
    pub store: Option<Store>,
    pub shelf: Shelf,
    pub status: Status,
    /// Who is told `durable`.
    pub backs: BTreeMap<Arc<str>, mpsc::Sender<FromPipeline>>,
    /// Bumped after each commit.
    pub news: watch::Sender<u64>,
    pub present: watch::Sender<(wire::Life, wire::Epoch)>,
    pub online: watch::Receiver<bool>,
    pub commit: Duration,
    /// How long parked values wait for a person.
    pub park: Duration,
    pub last_commit: Instant,
    pub rhythm: Rhythm,
    pub epoch_since: Instant,
    pub offline_since: Option<Instant>,
    /// Wall minus monotonic, as last recorded.
    pub clock: Option<(i64, wire::ClockQuality)>,
    pub stopping: watch::Receiver<bool>,
    /// What the store can take, when that was looked at, and what people are told of it.
    pub room: Room,
    pub looked: Instant,
    pub no_room: String,
}

impl Scribe {
    /// Until every instance has said its last word and is gone.
    pub async fn run(mut self, mut words: mpsc::Receiver<ToPipeline>) -> Result<(), Fault> {
        let mut look = tokio::time::interval(Duration::from_secs(CLOCK_LOOK_S));
        self.show_gaps(Vec::new());
        self.look_at_room().await?; // before anything is taken
        loop {
            let (due, room_due) = (self.commit_due(), self.room_look_due());
            tokio::select! {
                word = words.recv() => match word {
                    Some(word) => {
                        self.rhythm.heard(Instant::now(), self.commit, self.pipeline.wants_commit() > Urgency::No);
                        self.take(word).await;
                        while self.pipeline.waiting_bytes() < WAITING_BYTES_MAX && let Ok(word) = words.try_recv() {
                            self.take(word).await;
                        }
                    }
                    None => break,
                },
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
                () = sleep_until(room_due.unwrap_or_else(Instant::now)), if room_due.is_some() => self.look_at_room().await?,
                _ = look.tick() => {
                    self.look_at_clock();
                    self.begin_epoch_when_behind();
                    self.expire_parked();
                    self.pipeline.tell_windows_over(moment());
                }
                Ok(()) = self.online.changed() => self.link_changed(),
            }
            self.begin_epoch_when_due();
            if self.commit_due().is_some_and(|due| due <= Instant::now()) {
                self.commit(&mut words).await?;
            }
            self.show();
        }
        self.pipeline.stop(self.nothing_older());
        self.commit(&mut words).await
    }

    async fn take(&mut self, word: ToPipeline) {
        match word {
            ToPipeline::Posted { instance, terms, back } => {
                self.pipeline.posted(&instance, terms);
                self.backs.insert(instance, back);
            }
            ToPipeline::Bound { instance, moment, bed, serial, kept } => {
                self.pipeline.bound(&instance, Binding { bed, serial }, moment, kept);
                self.show_withheld(&instance); // of what was parked
                self.show_claim(&instance);
            }
            ToPipeline::Relinked { instance, link, moment } => {
                self.pipeline.relinked(&instance, link, moment);
                self.show_claim(&instance);
            }
            ToPipeline::Met { instance, who, moment } => {
                self.pipeline.met(&instance, &who, moment);
                self.show_claim(&instance);
            }
            ToPipeline::Quiet { instance, moment } => {
                self.pipeline.quiet(&instance, moment);
                self.show_claim(&instance);
            }
            ToPipeline::Opened { instance, moment, why } => {
                self.pipeline.opened(&instance, moment, why);
                self.show_claim(&instance);
            }
            ToPipeline::Raw { instance, frames } => {
                let withheld = frames.into_iter().map(|frame| self.pipeline.raw(&instance, frame)).sum::<u64>();
                self.status.instance(&instance, |i| i.raw_withheld += withheld);
            }
            ToPipeline::Lost { instance, moment, why } => self.pipeline.lost(&instance, moment, why),
            ToPipeline::Fault { instance, moment, why } => self.pipeline.fault(&instance, moment, why),
            ToPipeline::Closed { instance, moment, why } => self.pipeline.closed(&instance, moment, why),
            ToPipeline::Spoken(Spoken { instance, moment, said }) => match self.pipeline.spoken(&instance, moment, said) {
                Ok(()) => {
                    self.show_withheld(&instance);
                    self.show_claim(&instance);
                }
                Err(tail @ PipelineError::NotOpen { .. }) => debug!("{tail}"),
                Err(refused) => {
                    warn!("{refused}");
                    let kept = self.pipeline.kept(&instance);
                    self.tell(&instance, FromPipeline::Refused { why: refused.to_string(), kept }).await;
                }
            },
        }
    }

    fn show_claim(&mut self, instance: &Arc<str>) {
        let Some(claim) = self.pipeline.claim_news(instance) else { return };
        self.status.instance(instance, |i| {
            let Claim { bound, claim, holds, values, expired } = claim;
            if !holds && (i.unbound, &i.device_serial) != (true, &claim) && claim.is_some() {
                warn!(%instance, says = claim, bound_to = bound.serial, "nobody knows whose device this is: what it says is parked");
            }
            (i.bed, i.unbound, i.bound_serial, i.device_serial) = (bound.bed, !holds, bound.serial, claim);
            (i.parked, i.parked_expired) = (values, expired);
        });
    }

    fn show_withheld(&self, instance: &Arc<str>) {
        let (withheld, unchanged) = (self.pipeline.withheld(instance), self.pipeline.unchanged(instance));
        if withheld > 0 || unchanged > 0 {
            self.status.instance(instance, |i| (i.withheld, i.unchanged) = (withheld, unchanged));
        }
    }

    /// An instance takes these at any time; one that has gone needs them no more.
    pub(super) async fn tell(&self, instance: &Arc<str>, word: FromPipeline) {
        if let Some(back) = self.backs.get(instance) {
            let _ = back.send(word).await;
        }
    }

    /// When the next group is to be written; `None` while nothing asks for it.
    fn commit_due(&self) -> Option<Instant> {
        let news = self.store.as_ref().is_some_and(Store::has_news) || self.heads_are_due();
        if !self.may_commit() {
            return None;
        }
        match self.pipeline.wants_commit() {
            Urgency::Now => Some(self.last_commit + Duration::from_millis(URGENT_COMMIT_MS_MIN)),
            Urgency::No if !news => None,
            _ => Some(self.rhythm.due(self.last_commit, self.commit)),
        }
    }

    async fn commit(&mut self, words: &mut mpsc::Receiver<ToPipeline>) -> Result<(), Fault> {
        let store = self.store.as_ref().expect("it is back after each commit");
        let wanted = self.pipeline.wants_commit() > Urgency::No || store.has_news() || self.heads_are_due();
        if !wanted || !self.may_commit() {
            return Ok(());
        }
        let full_heads = store.wants_full_heads() || self.room == Room::Spent; // with them most can be deleted
        let sealed = self.pipeline.seal(full_heads, moment());
        self.rhythm.sealed();
        let Sealed { batches, states, heads: (full, bytes), durable, gaps } =
            sealed.map_err(|e| Fault::new(Guilty::Internal, e, "please report this"))?;
        let mut records: Vec<_> = batches.into_iter().map(|(key, digest, bytes)| Record::Batch { key, digest, bytes }).collect();
        records.extend(states.into_iter().map(|(instance, bytes)| Record::State { instance, bytes }));
        records.push(Record::Heads { full, bytes });
        let keys = records.iter().filter_map(|r| if let Record::Batch { key, .. } = r { Some(*key) } else { None });
        let keys: Vec<String> = keys.map(|k| k.to_string()).collect();
        debug!(batches = keys.join(" "), "committing");
        self.write(Group { records }, words).await?;
        self.show_gaps(gaps);
        self.committed(durable).await;
        Ok(())
    }

    /// The same bytes again and again, until they are on flash: nothing is lost meanwhile, because instances wait behind the full channel. But where the
    /// disk has no room for them and there is no reserve, instances are heard on, nothing is taken, and that is a gap: it may last for days.
    async fn write(&mut self, mut group: Group, words: &mut mpsc::Receiver<ToPipeline>) -> Result<(), Fault> {
        let mut patience = STOP_S_MAX * 1000 / COMMIT_RETRY_MS;
        loop {
            let mut store = self.store.take().expect("it is back after each try");
            let (done, room);
            (store, group, done, room) = tokio::task::spawn_blocking(move || {
                let done = store.commit(&group);
                let room = store.room();
                (store, group, done, room)
            })
            .await
            .map_err(|e| Fault::new(Guilty::Internal, format!("the store's thread ended: {e}"), "please report this"))?;
            self.store = Some(store);
            let Err(e) = done else {
                self.room_is(room).await;
                return Ok(());
            };
            if *self.stopping.borrow() {
                patience = patience.saturating_sub(1);
            }
            if patience == 0 {
                return Err(unwritten(e));
            }
            if matches!(e, StoreError::Full { .. }) {
                self.room_is(room).await;
            }
            let told = if self.room == Room::Spent { self.no_room.clone() } else { format!("{e}. {MEANWHILE}") };
            self.status.store(|s| {
                if s.last_error != told {
                    error!("{told}");
                }
                s.last_error = told;
            });
            tokio::time::sleep(Duration::from_millis(COMMIT_RETRY_MS)).await;
            while self.room == Room::Spent
                && let Ok(word) = words.try_recv()
            {
                self.take(word).await;
            }
        }
    }

    async fn committed(&mut self, durable: Vec<(Arc<str>, types::Tag)>) {
        self.last_commit = Instant::now();
        self.status.store(|s| s.last_error.clone_from(&self.no_room));
        for (instance, tag) in durable {
            debug!(%instance, tag, "durable");
            self.tell(&instance, FromPipeline::Durable(tag)).await;
        }
        let at = (self.pipeline.life(), self.pipeline.epoch());
        if self.present.send_replace(at) != at {
            self.epoch_since = Instant::now();
            self.clock = None; // each epoch holds a clock record of its own
            self.look_at_clock();
        }
        self.news.send_modify(|n| *n += 1);
    }

    fn show(&self) {
        let (waiting, epoch) = (self.shelf.waiting(), self.pipeline.epoch());
        let figures = self.store.as_ref().map(Store::figures).unwrap_or_default();
        self.status.with(|s| {
            s.epoch = epoch;
            (s.store.batches_waiting, s.store.bytes_waiting) = waiting;
            (s.store.commits, s.store.failed_flushes) = (figures.commits, figures.failed_commits);
            (s.store.bytes_written, s.store.bytes_on_disk) = (figures.bytes_written, figures.bytes_on_disk);
            s.store.reserve_bytes = figures.reserve_bytes;
        });
    }

    /// Only what is on flash is told.
    fn show_gaps(&self, told: Vec<Gap>) {
        let now = moment();
        let clock = (format!("{:016x}", now.boot), now.wall.map(|wall_ns| wall_ns - now.monotonic_ns.cast_signed()));
        self.status.gaps_told(told, self.pipeline.open_gaps(), clock);
    }

    fn nothing_older(&self) -> bool {
        !self.shelf.holds_older_than(self.pipeline.life(), self.pipeline.epoch())
    }

    fn link_changed(&mut self) {
        let online = *self.online.borrow_and_update();
        self.offline_since = if online { None } else { Some(self.offline_since.unwrap_or_else(Instant::now)) };
        if self.epoch_since.elapsed() >= Duration::from_secs(EPOCH_AGE_S_MIN) {
            self.pipeline.begin_epoch(self.nothing_older());
        }
    }

    fn begin_epoch_when_due(&mut self) {
        let short = self.offline_since.is_some_and(|since| since.elapsed() < Duration::from_secs(EPOCH_OFFLINE_SHORT_FOR_S));
        let seconds = if short { EPOCH_OFFLINE_S } else { EPOCH_S };
        if self.epoch_since.elapsed() >= Duration::from_secs(seconds) {
            self.pipeline.begin_epoch(self.nothing_older());
            self.epoch_since = Instant::now();
        }
    }

    fn expire_parked(&mut self) {
        self.pipeline.expire_parked(moment(), self.park.as_nanos() as u64);
        let instances: Vec<Arc<str>> = self.backs.keys().cloned().collect();
        instances.iter().for_each(|instance| self.show_claim(instance));
    }

    fn begin_epoch_when_behind(&mut self) {
        let old_enough = self.epoch_since.elapsed() >= Duration::from_secs(EPOCH_AGE_S_MIN);
        if old_enough && self.offline_since.is_none() && is_behind(&self.shelf.held(), (self.pipeline.life(), self.pipeline.epoch())) {
            self.pipeline.begin_epoch(false);
            self.epoch_since = Instant::now();
        }
    }

    /// A record when the clock was set or stepped, when its quality changed, and once in each epoch.
    fn look_at_clock(&mut self) {
        let now = moment();
        let Some(wall_ns) = now.wall else { return };
        let (ahead, quality) = (wall_ns - now.monotonic_ns.cast_signed(), clock::quality());
        if self.clock.is_some_and(|(was, q)| was.abs_diff(ahead) < CLOCK_STEP_NS && q == quality) {
            return;
        }
        self.clock = Some((ahead, quality));
        self.pipeline.clock(now, wall_ns, clock::uncertainty_ns(quality), quality);
    }
}

fn is_behind(held: &[Held], present: (wire::Life, wire::Epoch)) -> bool {
    let waiting = |h: &Held| h.sequences.iter().map(|range| u64::from(range.end() - range.start()) + 1).sum::<u64>();
    held.iter().any(|h| (h.life, h.epoch) == present && waiting(h) >= BEHIND_BATCHES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn live_is_behind_when_a_minute_of_one_class_waits_in_the_present_epoch() {
        let held = |epoch, class, sequences| Held { life: 1, life_order: 1, epoch, class, sequences };
        let minute = vec![0..=9, 20..=69];
        assert!(is_behind(&[held(3, wire::Class::Waveform, minute.clone())], (1, 3)));
        assert!(!is_behind(&[held(3, wire::Class::Waveform, vec![0..=58])], (1, 3)), "not yet");
        assert!(!is_behind(&[held(2, wire::Class::Waveform, minute.clone())], (1, 3)), "that is backlog");
        assert!(!is_behind(&[held(3, wire::Class::Waveform, vec![0..=39]), held(3, wire::Class::Numeric, vec![0..=39])], (1, 3)));
    }
}
