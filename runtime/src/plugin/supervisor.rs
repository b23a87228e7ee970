//! The life of one instance: open, events one at a time, restart from what it kept, close.

mod between;

use std::collections::VecDeque;
use std::time::Duration;

use tokio::sync::mpsc::{PermitIterator, Sender};
use tokio::sync::oneshot;
use tracing::Instrument;
use wardgate_wire::GapReason;

use super::allowance::Allowance;
use super::channels::{Asked, FromPipeline, Left, Spoken, ToPipeline, Wiring};
use super::commands::Commands;
use super::effects::{Around, Open};
use super::instance::{Fault, Instance, Spent};
use super::kept::Kept;
use super::patience::Patience;
use super::posting::{Posting, seed_of};
use super::together::Place;
use crate::capability::inbox;
use crate::config::Link;
use crate::contract::gateway::Level;
use crate::contract::types::{LinkState, Moment};
use crate::contract::{CallError, Event, Frame, Log, Outcome, Said, ble, modbus, printable, serial};
use crate::fault;

/// Messages that one event can bring to the pipeline: a silence, what was lost before it, `Opened` or its bytes, what was said, and `Closed` or `Fault`.
/// Each instance holds room for so many while it waits, so the channel needs more than this for every instance.
pub const PIPELINE_ROOM: usize = 4;

const LAST_EVENTS_MAX: usize = inbox::EVENTS_MAX; // what can wait when it is told to stop; more comes in meanwhile only from a chattering line
const REFUSALS_IN_A_ROW_MAX: u32 = 64; // a poller asks for all its registers at once, and all may be refused
const REFUSAL_PAUSE_MS: u64 = 10; // as the shortest timer
const LOG_LINES_MAX: usize = 20; // of one call; a plugin that explains more than that fills the card, not a head
const DETAIL_BYTES_MAX: usize = 300; // two lines of status

pub struct Supervisor {
    posting: Posting,
    wiring: Wiring,
    /// Among those whose timers go off together.
    place: Place,
    /// What the next `open` gets.
    kept: Option<Kept>,
    /// What the first one got.
    found: Option<Kept>,
    open: Open,
    /// Outlives its runs: a fault brings no new minute to fill.
    allowance: Allowance,
    commands: Commands,
    running: Option<Instance>,
    /// When the newest run was opened; none: it did not open.
    opened_ns: Option<u64>,
    /// How the newest run failed.
    why: String,
    patience: Patience,
    /// People who wait to hear whether it opens again; as many as the console lets in at once.
    restart_asked: Vec<oneshot::Sender<Result<(), fault::Fault>>>,
    /// Told by the pipeline and not acted on yet.
    told: Vec<FromPipeline>,
    restarts: u64,
    /// Of the newest event: for the plugin time never goes back, also where a timer fell due before bytes that it heard first.
    newest: Option<Moment>,
    /// Timers and the inbox take turns, so that neither can starve the other.
    own_went_last: bool,
    /// While it stops: how many events of the inbox it may still hear.
    last_events: usize,
    refusals_in_a_row: u32,
    /// What is heard now was an indication: its peripheral takes it as delivered.
    confirmed: bool,
    /// The silence that was told last, by its beginning.
    quiet_since_ns: Option<u64>,
    /// Heard before anything else: what a silence comes to for the plugin (down and up for each of its links), and what ended the silence: five at most.
    ahead: VecDeque<(Moment, Event)>,
    /// Since a silence: its device said before who it is, and may be another now.
    must_identify: bool,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// In order, or because the gateway around it ends.
    ForGood,
    ByFault,
    /// A person asked for a restart.
    ByHand,
    /// Not all that it said found room on the disk; it goes on from what did.
    ByDisk,
}

enum Next {
    Event(Moment, Event),
    Stop(GapReason),
    Restart,
    /// The pipeline refused what an earlier call said, and what that call and those after it kept.
    Refused {
        why: String,
        kept: Option<Vec<u8>>,
    },
    Behind(Option<Vec<u8>>),
}

type Room<'a> = PermitIterator<'a, ToPipeline>;

impl Supervisor {
    pub fn new(mut posting: Posting, wiring: Wiring) -> Self {
        let (kept, commands) = (posting.kept(), std::mem::take(&mut posting.left.commands));
        let patience = Patience::new(seed_of(posting.seed, &posting.instance));
        let allowance = Allowance::new(posting.plugin.manifest.limits.said_kib_s);
        Self {
            place: wiring.together.place(),
            posting,
            wiring,
            found: kept.clone(),
            kept,
            open: Open::default(),
            allowance,
            commands,
            running: None,
            opened_ns: None,
            why: String::new(),
            patience,
            restart_asked: Vec::new(),
            told: Vec::new(),
            restarts: 0,
            newest: None,
            own_went_last: false,
            last_events: LAST_EVENTS_MAX,
            refusals_in_a_row: 0,
            confirmed: false,
            quiet_since_ns: None,
            ahead: VecDeque::new(),
            must_identify: false,
        }
    }

    /// Until it is told to stop. Every fault of the plugin ends in here.
    pub async fn run(self) -> Left {
        let span = tracing::info_span!("instance", name = %self.posting.instance, plugin = %self.posting.plugin.manifest.full_name());
        self.runs().instrument(span).await
    }

    async fn runs(mut self) -> Left {
        let pipeline = self.wiring.pipeline.clone();
        let (plugin, bed, silent_after_s) =
            (self.posting.plugin.manifest.full_name(), self.posting.bed.clone(), self.posting.silent_after_s);
        let inputs = self.wiring.taps.heard(&self.posting.instance);
        self.status(|s| {
            (s.plugin, s.bed, s.silent_after_s) = (plugin, bed, silent_after_s);
            (s.inputs_heard, s.inputs) = inputs;
            (s.state, s.detail) = ("starting".into(), String::new());
        });
        let mut why = None;
        loop {
            why = match self.once(&pipeline, why).await {
                Some(Ended::ByHand) => None, // its closing told why
                Some(Ended::ByDisk) => Some(GapReason::DiskFull),
                Some(Ended::ByFault) if self.between_runs().await => Some(GapReason::PluginFault),
                _ => break,
            };
            self.restarts += 1;
            self.status(|s| s.restarts += 1);
        }
        self.status(|s| s.state = "stopped".into());
        // what it asked of its links is nobody's now: no device is asked for it any more
        let now = self.now_forward();
        self.wiring.inbox.reopen(now);
        self.commands.run_ended(true); // nobody hears any more whether an answer's flash has come: the next one is asked again
        Left { saved: self.kept.as_ref().map(Kept::to_bytes), commands: self.commands }
    }

    /// One run, from `open` to its end. `None`: the pipeline is gone, so nobody listens any more.
    async fn once(&mut self, pipeline: &Sender<ToPipeline>, why: Option<GapReason>) -> Option<Ended> {
        let room = self.room(pipeline).await?;
        if let Some(ended) = self.opens(room, why).await {
            return Some(ended);
        }
        loop {
            let room = self.room(pipeline).await?;
            let ended = match self.next().await {
                Next::Event(moment, Event::FilterOverran) => {
                    let moment = self.forward(moment);
                    self.overran(room, moment);
                    None
                }
                Next::Event(_, Event::ModbusFrames(frames)) => {
                    let mut room = room;
                    put(&mut room, ToPipeline::Raw { instance: self.posting.instance.clone(), frames });
                    None
                }
                Next::Event(moment, Event::BleOverran) => {
                    let moment = self.forward(moment);
                    self.notifications_lost(room, moment);
                    None
                }
                Next::Event(moment, event) => {
                    let moment = self.forward(moment);
                    self.handle(room, moment, event).await.err()
                }
                Next::Refused { why, kept } => Some(self.refused(&why, kept)),
                Next::Behind(kept) => Some(self.behind(kept)),
                Next::Stop(why) => Some(self.close(room, why, Ended::ForGood).await),
                Next::Restart => Some(self.close(room, GapReason::PluginSwap, Ended::ByHand).await),
            };
            if ended.is_some() {
                return ended;
            }
        }
    }

    /// Room for all that one event can bring is there before the event is taken.
    async fn room<'a>(&mut self, pipeline: &'a Sender<ToPipeline>) -> Option<Room<'a>> {
        let reserve = pipeline.reserve_many(PIPELINE_ROOM);
        tokio::pin!(reserve);
        loop {
            tokio::select! {
                room = &mut reserve => return room.ok(),
                // Taken meanwhile, or the pipeline and this instance could wait for each other.
                Some(told) = self.wiring.back.recv() => self.hear(told),
            }
        }
    }

    fn hear(&mut self, told: FromPipeline) {
        match told {
            FromPipeline::Durable(ticket) if self.commands.on_flash(ticket) => {}
            FromPipeline::Durable(ticket) => {
                let now = (self.wiring.clock)();
                self.open.durable(now, ticket);
            }
            FromPipeline::Refused { .. } | FromPipeline::Behind { .. } => self.told.push(told),
        }
    }

    async fn next(&mut self) -> Next {
        loop {
            match self.told.pop() {
                Some(FromPipeline::Refused { why, kept }) => return Next::Refused { why, kept },
                Some(FromPipeline::Behind { kept }) => return Next::Behind(kept),
                Some(FromPipeline::Durable(_)) | None => {}
            }
            if let Some((moment, event)) = self.ahead.pop_front() {
                return Next::Event(moment, event);
            }
            let stopping = *self.wiring.stop.borrow();
            if let Some(why) = stopping {
                return self.still_waiting().map_or(Next::Stop(why), |(moment, event)| Next::Event(moment, event));
            }
            let now = (self.wiring.clock)();
            if let Some(command) = self.commands.deliver() {
                return Next::Event(now, command);
            }
            // What happened first is heard first: after a restart a timer of a moment ago would make old of new and new of old.
            let earlier = self.wiring.inbox.next_ns().is_some_and(|next_ns| next_ns < self.open.next_due_ns());
            let inbox_first = std::mem::take(&mut self.own_went_last) || earlier;
            if inbox_first && let Some((moment, event)) = self.wiring.inbox.try_recv() {
                return Next::Event(moment, event);
            }
            if let Some((moment, event)) = self.open.take_due(now) {
                self.own_went_last = true;
                return Next::Event(moment, event);
            }
            let (due_ns, latest_ns) = (self.open.next_due_ns(), self.open.latest_ns());
            tokio::select! {
                biased;
                // An error means that the corridor has gone without a word.
                gone = self.wiring.stop.changed() => if gone.is_err() { return Next::Stop(GapReason::GatewayRestart) },
                Some(told) = self.wiring.back.recv() => self.hear(told),
                Some(asked) = self.wiring.asked.recv() => match asked {
                    Asked::Command(command) => self.commands.take(command),
                    Asked::Restart(answer) => {
                        self.restart_asked.push(answer);
                        return Next::Restart;
                    }
                },
                (moment, event) = self.wiring.inbox.recv() => return Next::Event(moment, event),
                () = self.place.wait(self.wiring.clock, due_ns, latest_ns) => {}
            }
        }
    }

    /// What had arrived when it was told to stop is heard first: it came from a device, and nobody will say it again.
    fn still_waiting(&mut self) -> Option<(Moment, Event)> {
        self.last_events = self.last_events.checked_sub(1)?;
        self.wiring.inbox.try_recv()
    }

    fn now_forward(&mut self) -> Moment {
        let now = (self.wiring.clock)();
        self.forward(now)
    }

    fn forward(&mut self, mut moment: Moment) -> Moment {
        if let Some(newest) = self.newest.filter(|newest| newest.boot == moment.boot) {
            moment.monotonic_ns = moment.monotonic_ns.max(newest.monotonic_ns);
        }
        self.newest = Some(moment);
        moment
    }

    /// A plugin that asks again at once for what it was refused would otherwise spin.
    async fn pace(&mut self, event: &Event) {
        match event {
            Event::ModbusReply(_, Err(modbus::Failure::NotGranted | modbus::Failure::OverRate | modbus::Failure::LinkDown))
            | Event::SerialWritten(_, Err(_))
            | Event::BleReply(
                _,
                Err(ble::Failure::NotGranted | ble::Failure::OverRate | ble::Failure::LinkDown | ble::Failure::NotFound),
            ) => self.refusals_in_a_row += 1,
            _ => self.refusals_in_a_row = 0,
        }
        if self.refusals_in_a_row > REFUSALS_IN_A_ROW_MAX {
            tokio::time::sleep(Duration::from_millis(REFUSAL_PAUSE_MS)).await;
        }
    }

    /// `Some` when it did not open.
    async fn opens(&mut self, mut room: Room<'_>, mut why: Option<GapReason>) -> Option<Ended> {
        for told in std::mem::take(&mut self.told) {
            // it was about the run before, and so is the state of a call that came to nothing
            match told {
                FromPipeline::Refused { kept, .. } => self.take_back(kept),
                FromPipeline::Behind { kept } => {
                    self.take_back(kept);
                    why = Some(GapReason::DiskFull);
                }
                FromPipeline::Durable(_) => {}
            }
        }
        // What an earlier run asked is answered to nobody, and the links' states are told anew.
        self.ahead.clear();
        self.must_identify = false;
        let opened_at = (self.wiring.clock)();
        let begins = self.wiring.inbox.reopen(opened_at);
        let now = self.forward(begins);
        let start = self.posting.opening(self.kept.as_ref(), self.restarts);
        let plugin = self.posting.plugin.clone();
        let opened = async {
            let mut instance = plugin.start().await?;
            let outcome = instance.open(now, &start).await?;
            match &outcome.problem {
                // There is nothing to go on with, fatal or not: none of it counts.
                Some(problem) => Err(Spent { why: CallError::Fatal(problem.clone()).into(), logs: outcome.logs }),
                None => Ok((instance, outcome)),
            }
        };
        match opened.await {
            Ok((instance, outcome)) => {
                tracing::info!(restarts = self.restarts, "opened");
                self.running = Some(instance);
                let opened = ToPipeline::Opened { instance: self.posting.instance.clone(), moment: now, why };
                let opened_ns = opened_at.monotonic_ns; // not when what waits was said, or a minute of rest would count as a minute of life
                self.opened_ns = Some(opened_ns);
                self.status(|s| {
                    (s.opens, s.opened_ns) = (s.opens + 1, opened_ns);
                    (s.state, s.detail) = ("healthy".into(), String::new());
                });
                self.restart_asked.drain(..).for_each(|asker| drop(asker.send(Ok(()))));
                self.wiring.taps.opened(&self.posting.instance, now);
                self.take_effect(&mut room, now, outcome, Some(opened)).err()
            }
            // The pipeline has not heard of this run, so there is nothing to take back there.
            Err(spent) => {
                let what = format!("\"{}\" did not open: {}", self.posting.instance, spent.why);
                let failed = || fault::Fault::new(fault::Guilty::Plugin, &what, "it is tried again; `wardgate status` shows how it fares");
                self.restart_asked.drain(..).for_each(|asker| drop(asker.send(Err(failed()))));
                Some(self.fault(&spent))
            }
        }
    }

    async fn handle(&mut self, mut room: Room<'_>, moment: Moment, event: Event) -> Result<(), Ended> {
        let instance = self.posting.instance.clone();
        let before = match &event {
            Event::SerialFaulted(serial::LineFault::Overrun) => {
                Some(ToPipeline::Lost { instance: instance.clone(), moment, why: GapReason::GatewayOverrun })
            }
            Event::SerialLink(LinkState::Up) => Some(ToPipeline::Relinked { instance: instance.clone(), link: Link::Serial, moment }),
            Event::BleLink(LinkState::Up) => Some(ToPipeline::Relinked { instance: instance.clone(), link: Link::Ble, moment }),
            Event::BleDiscovered { who: Some(who), .. } | Event::BleAdvertised { who: Some(who), .. } => {
                Some(ToPipeline::Met { instance: instance.clone(), who: who.clone(), moment })
            }
            Event::ModbusLink(LinkState::Up) => Some(ToPipeline::Relinked { instance: instance.clone(), link: Link::Modbus, moment }),
            _ => None,
        };
        self.look_for_silence(&mut room, moment);
        if self.must_identify && is_of_the_device(&event) {
            self.must_identify = false;
            let links = &self.wiring.links;
            let kinds = [(links.serial.is_some(), Event::SerialLink as fn(_) -> _), (links.modbus.is_some(), Event::ModbusLink)];
            let told = kinds.iter().filter(|(has, _)| *has).flat_map(|(_, of)| [of(LinkState::Down), of(LinkState::Up)]);
            self.ahead.extend(told.chain([event]).map(|event| (moment, event)));
            return Ok(());
        }
        match &before {
            Some(ToPipeline::Lost { .. }) => self.wiring.taps.lost(&instance, moment),
            Some(ToPipeline::Relinked { link, .. }) => self.wiring.taps.relinked(&instance, *link, moment),
            Some(ToPipeline::Met { who, .. }) => self.wiring.taps.met(&instance, who, moment),
            _ => {}
        }
        if matches!(event, Event::FilterBound(..) | Event::FilterUnbound(_)) {
            let heard = self.wiring.taps.heard(&instance);
            self.status(|s| (s.inputs_heard, s.inputs) = heard);
        }
        match &event {
            Event::SerialReceived(bytes) if self.posting.keep_raw => {
                let frames = vec![Frame { moment, sent: false, bytes: bytes.clone() }];
                put(&mut room, ToPipeline::Raw { instance: instance.clone(), frames });
            }
            Event::SerialReceived(bytes) => self.status(|s| s.raw_withheld += bytes.len() as u64),
            _ => {}
        }
        if let (Event::BleDiscovered { .. }, Some(ble)) = (&event, &self.wiring.links.ble) {
            ble.told(moment);
        }
        self.pace(&event).await;
        self.confirmed = matches!(event, Event::BleIndicated(..));
        match self.call(moment, event).await {
            Ok(outcome) => self.take_effect(&mut room, moment, outcome, before),
            Err(spent) => {
                before.into_iter().for_each(|lost| put(&mut room, lost));
                put(&mut room, ToPipeline::Fault { instance, moment, why: GapReason::PluginFault });
                Err(self.fault(&spent))
            }
        }
    }

    /// A device that was swapped on a line which nothing tells of a pulled plug: it must say anew who it is. A peripheral is known by its address.
    /// So the plugin hears that its link was down and is up again before the next that the device says: then it identifies.
    fn look_for_silence(&mut self, room: &mut Room<'_>, moment: Moment) {
        if self.wiring.links.serial.is_none() && self.wiring.links.modbus.is_none() {
            return;
        }
        let instance = self.posting.instance.clone();
        let (since, claimed) = self
            .wiring
            .status
            .instance(&instance, |i| (i.quiet_since(moment.monotonic_ns), i.bound_serial.is_some() && i.device_serial.is_some()));
        if since.is_none() || since == self.quiet_since_ns {
            return;
        }
        self.quiet_since_ns = since;
        if claimed {
            tracing::warn!("it was silent for longer than silent_after_s: what it says is parked until its device says anew who it is");
        }
        put(room, ToPipeline::Quiet { instance: instance.clone(), moment });
        self.wiring.taps.quiet(&instance, moment);
        self.must_identify |= claimed;
    }

    /// There is no word for it in what a plugin hears: its packet counters show it the hole, and the ledger has the reason.
    fn notifications_lost(&mut self, mut room: Room<'_>, moment: Moment) {
        let instance = self.posting.instance.clone();
        tracing::warn!("it takes what its peripheral says too slowly; some of that is lost");
        put(&mut room, ToPipeline::Lost { instance: instance.clone(), moment, why: GapReason::GatewayOverrun });
        self.wiring.taps.lost(&instance, moment);
    }

    /// A filter was too slow: what it says from here on is said without what it did not hear.
    fn overran(&mut self, mut room: Room<'_>, moment: Moment) {
        let instance = self.posting.instance.clone();
        tracing::warn!("it takes what it hears of other instances too slowly; some of that is lost to it");
        self.status(|s| s.overruns += 1);
        put(&mut room, ToPipeline::Lost { instance: instance.clone(), moment, why: GapReason::GatewayOverrun });
        self.wiring.taps.overran(&instance, moment);
    }

    async fn call(&mut self, moment: Moment, event: Event) -> Result<Outcome, Spent> {
        let mut instance = self.running.take().expect("a run calls only while it is open");
        self.status(|s| s.calls += 1);
        let outcome = instance.call(moment, &event).await?;
        self.running = Some(instance);
        Ok(outcome)
    }

    /// All of it, or with an error none of it.
    fn take_effect(&mut self, room: &mut Room<'_>, moment: Moment, outcome: Outcome, before: Option<ToPipeline>) -> Result<(), Ended> {
        let instance = self.posting.instance.clone();
        before.into_iter().for_each(|first| put(room, first));
        let alerts = outcome.said.iter().filter(|one| matches!(one, Said::Raise(_))).count();
        let admitted = self.allowance.take(moment.monotonic_ns, outcome.bytes, alerts).and_then(|()| self.open.admits(&outcome.said));
        if let Err(breach) = admitted {
            put(room, ToPipeline::Fault { instance, moment, why: GapReason::PluginFault });
            return Err(self.fault(&Spent { why: breach.into(), logs: outcome.logs }));
        }
        show(&outcome.logs);
        if let Some(problem) = &outcome.problem {
            let detail = printable(&problem.detail, DETAIL_BYTES_MAX);
            tracing::warn!(cause = ?problem.cause, %detail, "the plugin met a problem and goes on");
            self.status(|s| s.detail = detail);
        }
        let around = Around {
            instance: &instance,
            version: &self.posting.plugin.manifest.version,
            links: &self.wiring.links,
            status: &self.wiring.status,
            moment,
            now: (self.wiring.clock)(),
        };
        let mut sorted = around.sort(&mut self.open, outcome.said);
        if let Some(kept) = sorted.kept.take() {
            self.kept = Some(kept);
        }
        let mut said = std::mem::take(&mut sorted.to_pipeline);
        if std::mem::take(&mut self.confirmed) {
            self.open.hurry(&mut said);
        }
        if !said.is_empty() {
            self.wiring.taps.said(&instance, moment, &said);
            put(room, ToPipeline::Spoken(Spoken { instance: instance.clone(), moment, said }));
        }
        match around.carry_out(&mut self.open, &mut self.commands, sorted) {
            Ok(()) => Ok(()),
            // Its data counts, because the call was over; what it is refused again and again ends the run.
            Err(flooded) => {
                put(room, ToPipeline::Fault { instance, moment, why: GapReason::PluginFault });
                Err(self.fault(&Spent { why: Fault::Flooded(flooded), logs: Vec::new() }))
            }
        }
    }

    async fn close(&mut self, mut room: Room<'_>, why: GapReason, ended: Ended) -> Ended {
        let now = self.now_forward();
        let instance = self.posting.instance.clone();
        match self.call(now, Event::Close).await {
            Ok(outcome) => {
                if self.take_effect(&mut room, now, outcome, None).is_ok() {
                    put(&mut room, ToPipeline::Closed { instance, moment: now, why });
                }
            }
            Err(spent) => {
                put(&mut room, ToPipeline::Fault { instance, moment: now, why: GapReason::PluginFault });
                self.fault(&spent);
            }
        }
        self.run_is_over();
        ended
    }

    fn run_is_over(&mut self) {
        self.running = None;
        self.open.end();
        self.commands.run_ended(false);
        let now = self.now_forward();
        self.wiring.taps.ended(&self.posting.instance, now);
        self.status(|s| s.inputs_heard = 0);
    }

    fn take_back(&mut self, kept: Option<Vec<u8>>) {
        self.kept = kept.map_or_else(|| self.found.clone(), |bytes| Kept::from_bytes(&bytes).ok());
    }

    fn refused(&mut self, why: &str, kept: Option<Vec<u8>>) -> Ended {
        tracing::error!(%why, "the pipeline took nothing of a call");
        self.take_back(kept);
        self.commands.run_ended(true);
        self.ends(why)
    }

    /// Its device is asked again for what was not taken, as far as it still holds it.
    fn behind(&mut self, kept: Option<Vec<u8>>) -> Ended {
        tracing::warn!("not all that it said found room on the disk: it opens anew from the newest state that is stored");
        self.take_back(kept);
        self.commands.run_ended(true);
        self.run_is_over();
        Ended::ByDisk
    }

    fn fault(&mut self, spent: &Spent) -> Ended {
        show(&spent.logs);
        tracing::error!(why = %spent.why, "the plugin failed; what this call said is dropped");
        self.ends(&spent.why.to_string())
    }

    /// The instance is spent. What it kept is all that stays of it.
    fn ends(&mut self, why: &str) -> Ended {
        self.run_is_over();
        // Or each of a hundred bad lines that came with it would end a run of its own, long after the device is well again.
        self.wiring.inbox.give_up_the_line();
        why.clone_into(&mut self.why);
        self.status(|s| {
            s.faults += 1;
            (s.state, s.detail) = ("restarting".into(), printable(why, DETAIL_BYTES_MAX));
        });
        Ended::ByFault
    }

    fn status<T>(&self, change: impl FnOnce(&mut crate::status::InstanceStatus) -> T) -> T {
        self.wiring.status.instance(&self.posting.instance, change)
    }
}

fn is_of_the_device(event: &Event) -> bool {
    matches!(event, Event::SerialReceived(_) | Event::ModbusReply(_, Ok(_) | Err(modbus::Failure::Exception(_))))
}

fn put(room: &mut Room<'_>, message: ToPipeline) {
    match room.next() {
        Some(permit) => {
            permit.send(message);
        }
        None => debug_assert!(false, "PIPELINE_ROOM is too small"),
    }
}

fn show(logs: &[Log]) {
    for Log { level, text, .. } in logs.iter().take(LOG_LINES_MAX) {
        match level {
            Level::Debug => tracing::debug!(said = %text, "the plugin says"),
            Level::Info => tracing::info!(said = %text, "the plugin says"),
            Level::Warn => tracing::warn!(said = %text, "the plugin says"),
            Level::Error => tracing::error!(said = %text, "the plugin says"),
        }
    }
    if logs.len() > LOG_LINES_MAX {
        tracing::warn!("{} more lines of this call are not shown", logs.len() - LOG_LINES_MAX);
    }
}
