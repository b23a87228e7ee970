//! An instance's life under its supervisor: effects together or not at all, restart from what it kept, order towards the pipeline.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::time::{ClockId, clock_gettime};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use wardgate::capability::{inbox, serial};
use wardgate::config::SerialGrant;
use wardgate::contract::types::{LinkState, Moment, Tag, Value};
use wardgate::contract::{Event, Said};
use wardgate::fault::Fault;
use wardgate::plugin::{
    Asked, Command, Commands, FromPipeline, Kept, Left, Links, PIPELINE_ROOM, Posting, QUARANTINE_FAULTS, Spoken, Supervisor, ToPipeline,
    Wiring,
};
use wardgate::status::{InstanceStatus, Status};
use wardgate_wire::GapReason;

use super::hostile;

fn clock() -> Moment {
    let t = clock_gettime(ClockId::Boottime);
    Moment { boot: 1, monotonic_ns: t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64, wall: None }
}

/// One supervised instance and all its ends.
struct Ward {
    name: Arc<str>,
    inbox: inbox::Sender,
    pipeline: mpsc::Receiver<ToPipeline>,
    back: mpsc::Sender<FromPipeline>,
    stop: watch::Sender<Option<GapReason>>,
    asked: mpsc::Sender<Asked>,
    status: Status,
    task: JoinHandle<Left>,
}

#[derive(Default)]
struct Start {
    settings: &'static [(&'static str, &'static str)],
    saved: Option<Kept>,
    commands: Commands,
    inbox_bytes: usize,
    writes: Option<Vec<String>>,
}

fn start_on(name: &str, pipeline: mpsc::Sender<ToPipeline>, from: mpsc::Receiver<ToPipeline>, start: Start) -> Ward {
    let name: Arc<str> = name.into();
    let (sender, inbox) = inbox::inbox(name.clone(), if start.inbox_bytes == 0 { 1 << 16 } else { start.inbox_bytes });
    let (back, back_receiver) = mpsc::channel(1);
    let (stop, stopped) = watch::channel(None);
    let (asked, asks) = mpsc::channel(4);
    let status = Status::default();
    let serial = start.writes.map(|writes| {
        let port = PathBuf::from("/dev/none");
        let grant = SerialGrant { port, baud: 9600, framing: "8N1".into(), flow: "none".into(), writes, at: Default::default() };
        let (port, _gone) = mpsc::channel(serial::WRITES_OPEN_MAX);
        serial::Handle::new(serial::Grant::new(&name, &grant).unwrap(), port, sender.clone(), clock, status.clone())
    });
    let posting = Posting {
        instance: name.clone(),
        plugin: hostile(),
        settings: start.settings.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect::<BTreeMap<_, _>>(),
        bed: Some("bed-1".into()),
        binding: None,
        silent_after_s: 0,
        keep_raw: false,
        seed: 1,
        left: Left { saved: start.saved.map(|kept| kept.to_bytes()), commands: start.commands },
    };
    let links = Links { modbus: None, serial, ble: None };
    let taps = wardgate::plugin::Taps::default();
    let together = wardgate::plugin::Together::default();
    let wiring =
        Wiring { inbox, pipeline, back: back_receiver, links, taps, together, clock, status: status.clone(), asked: asks, stop: stopped };
    #[allow(clippy::disallowed_methods, reason = "the test is the corridor here")]
    let task = tokio::spawn(Supervisor::new(posting, wiring).run());
    Ward { name, inbox: sender, pipeline: from, back, stop, asked, status, task }
}

fn start(from: Start) -> Ward {
    let (to, pipeline) = mpsc::channel(PIPELINE_ROOM * 4);
    start_on("bed-1-monitor", to, pipeline, from)
}

impl Ward {
    fn order(&self, what: &str) {
        // Orders 6 ms apart are never joined to one piece.
        let mut moment = clock();
        moment.monotonic_ns += ORDERS.fetch_add(1, std::sync::atomic::Ordering::Relaxed) * 6_000_000;
        self.inbox.bytes(moment, what.as_bytes());
    }

    /// A link that came up is the pipeline's to judge: the tests of bindings look at that.
    async fn next(&mut self) -> ToPipeline {
        loop {
            match self.pipeline.recv().await.expect("the supervisor runs") {
                ToPipeline::Relinked { .. } => {}
                other => return other,
            }
        }
    }

    async fn spoken(&mut self) -> Vec<Said> {
        match self.next().await {
            ToPipeline::Spoken(Spoken { instance, said, .. }) => {
                assert_eq!(instance, self.name);
                said
            }
            other => panic!("{other:?}"),
        }
    }

    /// The one number that the next message emits.
    async fn number(&mut self) -> i64 {
        let said = self.spoken().await;
        number_in(&said)
    }

    async fn opened(&mut self, because: Option<GapReason>) {
        assert!(matches!(self.next().await, ToPipeline::Opened { why, .. } if why == because));
        assert!(matches!(&self.spoken().await[..], [Said::Describe(0, _), Said::Describe(1, _)]));
    }

    async fn fault(&mut self) {
        assert!(matches!(self.next().await, ToPipeline::Fault { why: GapReason::PluginFault, .. }));
    }

    fn status(&self) -> InstanceStatus {
        self.status.instance(&self.name, |s| s.clone())
    }

    async fn until(&self, what: impl Fn(&InstanceStatus) -> bool) {
        while !what(&self.status()) {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    }
}

impl Ward {
    async fn restart(&self) -> Result<(), Fault> {
        let (asker, opened) = oneshot::channel();
        self.asked.send(Asked::Restart(asker)).await.unwrap();
        opened.await.unwrap()
    }

    async fn command(&self, id: &str, name: &str) -> oneshot::Receiver<Result<Vec<u8>, Fault>> {
        let (answer, comes) = oneshot::channel();
        self.asked.send(Asked::Command(Command { id: id.into(), name: name.into(), argument: vec![], answer })).await.unwrap();
        comes
    }
}

static ORDERS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);

fn number_in(said: &[Said]) -> i64 {
    let [Said::Emit(o), ..] = said else { panic!("{said:?}") };
    let Value::Number(n) = &o[0].readings[0].value else { panic!("{said:?}") };
    n.mantissa
}

fn kept_in(said: &[Said]) -> Kept {
    let bytes = said.iter().find_map(|s| if let Said::Keep(bytes) = s { Some(bytes) } else { None });
    Kept::from_bytes(bytes.unwrap_or_else(|| panic!("{said:?}"))).unwrap()
}

fn ticket_in(said: &[Said]) -> Tag {
    said.iter().find_map(|s| if let Said::WhenDurable(ticket) = s { Some(*ticket) } else { None }).unwrap()
}

#[tokio::test]
async fn a_trapped_call_leaves_nothing_and_the_next_run_has_what_was_kept_before() {
    let mut ward = start(Start { saved: Some(Kept { by: "0.0.9".into(), state: 7_u32.to_le_bytes().into() }), ..Start::default() });
    ward.opened(None).await;
    ward.order("count");
    let said = ward.spoken().await;
    assert_eq!((number_in(&said), kept_in(&said)), (8, Kept { by: "0.1.0".into(), state: 8_u32.to_le_bytes().into() }));
    for order in ["keep then panic", "undescribed", "fatal", "timers"] {
        ward.order(order);
        ward.fault().await; // and nothing of what it said before
        ward.opened(Some(GapReason::PluginFault)).await;
    }
    ward.order("count");
    assert_eq!(ward.number().await, 9);
    let status = ward.status();
    assert_eq!((status.faults, status.restarts, status.state.as_str()), (4, 4, "healthy"));
    assert_eq!((status.plugin.as_str(), status.bed.as_deref(), status.readings), ("hostile-0.1.0", Some("bed-1"), 2));
    assert!(status.newest_monotonic_ns > 0);
}

#[tokio::test]
async fn a_problem_that_is_not_fatal_counts_and_the_run_goes_on() {
    let mut ward = start(Start::default());
    ward.opened(None).await;
    ward.order("problem");
    assert_eq!(ward.number().await, 1);
    ward.order("count");
    assert_eq!(ward.number().await, 2);
    assert_eq!(ward.status().faults, 0);
    assert_eq!(ward.status().detail, "the device said no");
}

#[tokio::test]
async fn what_does_not_open_tells_the_pipeline_nothing() {
    for order in ["keep then panic", "problem", "loop"] {
        let settings: &'static [_] = match order {
            "problem" => &[("at-open", "problem")],
            "loop" => &[("at-open", "loop")],
            _ => &[("at-open", "keep then panic")],
        };
        let mut ward = start(Start { settings, ..Start::default() });
        ward.until(|s| s.faults == 1).await;
        assert_eq!(ward.status().state, "restarting", "{order}");
        ward.stop.send(Some(GapReason::GatewayRestart)).unwrap();
        ward.task.await.unwrap();
        assert!(ward.pipeline.recv().await.is_none(), "{order}");
    }
}

#[tokio::test]
async fn a_timer_comes_with_the_moment_it_fell_due() {
    let mut ward = start(Start::default());
    ward.opened(None).await;
    let before = clock().monotonic_ns;
    ward.inbox.bytes(clock(), b"timer");
    let ToPipeline::Spoken(Spoken { moment, said, .. }) = ward.next().await else { panic!("not spoken") };
    assert_eq!(number_in(&said), 1);
    assert!((before + 20_000_000..=clock().monotonic_ns).contains(&moment.monotonic_ns));
}

#[tokio::test]
async fn time_never_goes_back_for_a_plugin() {
    let mut ward = start(Start::default());
    ward.opened(None).await;
    let mut later = clock();
    later.monotonic_ns += 60_000_000_000; // as if a link had read the clock long after the timer fell due
    ward.inbox.bytes(later, b"timer");
    let ToPipeline::Spoken(Spoken { moment, .. }) = ward.next().await else { panic!("not spoken") };
    assert_eq!(moment, later);
}

#[tokio::test]
async fn durable_reaches_the_run_that_asked_and_no_other() {
    let mut ward = start(Start::default());
    ward.opened(None).await;
    ward.order("durable");
    let ticket = ticket_in(&ward.spoken().await);
    ward.back.send(FromPipeline::Durable(ticket)).await.unwrap();
    assert_eq!(ward.number().await, 5, "the plugin's own tag");
    ward.back.send(FromPipeline::Durable(ticket)).await.unwrap(); // twice is nobody's
    ward.order("durable");
    let of_old_run = ticket_in(&ward.spoken().await);
    assert_ne!(of_old_run, ticket);
    ward.order("keep then panic");
    ward.fault().await;
    ward.opened(Some(GapReason::PluginFault)).await;
    ward.back.send(FromPipeline::Durable(of_old_run)).await.unwrap();
    ward.back.send(FromPipeline::Durable(of_old_run)).await.unwrap(); // the one place was free again: the first has been taken
    ward.order("durable");
    let of_new_run = ticket_in(&ward.spoken().await);
    ward.back.send(FromPipeline::Durable(of_new_run)).await.unwrap();
    assert_eq!(ward.number().await, 5);
    ward.order("count");
    assert_eq!(ward.number().await, 4, "nothing came between");
}

#[tokio::test]
async fn what_the_pipeline_refuses_ends_the_run() {
    let mut ward = start(Start::default());
    ward.opened(None).await;
    ward.order("count");
    assert_eq!(ward.number().await, 1);
    ward.back.send(FromPipeline::Refused { why: "because".into(), kept: None }).await.unwrap();
    ward.opened(Some(GapReason::PluginFault)).await; // the pipeline knows of the fault: it is not told again
    assert_eq!(ward.status().faults, 1);
}

/// All of a call or nothing: also its state.
#[tokio::test]
async fn what_a_refused_call_kept_does_not_count() {
    let mut ward = start(Start::default());
    ward.opened(None).await;
    for n in 1..=3 {
        ward.order("count");
        assert_eq!(ward.number().await, n);
    }
    let kept = Some(Kept { by: "0.1.0".into(), state: 1_u32.to_le_bytes().into() }.to_bytes()); // the second call was refused
    ward.back.send(FromPipeline::Refused { why: "because".into(), kept }).await.unwrap();
    ward.opened(Some(GapReason::PluginFault)).await;
    ward.order("count");
    assert_eq!(ward.number().await, 2);
}

#[tokio::test]
async fn a_refusal_that_comes_late_does_not_end_the_next_run() {
    let mut ward = start(Start::default());
    ward.opened(None).await;
    ward.order("fatal");
    ward.fault().await;
    ward.back.send(FromPipeline::Refused { why: "of the run before".into(), kept: None }).await.unwrap();
    ward.opened(Some(GapReason::PluginFault)).await;
    ward.order("count");
    assert_eq!(ward.number().await, 1);
    assert_eq!(ward.status().faults, 1);
}

#[tokio::test]
async fn stopping_hears_what_waits_then_closes() {
    let mut ward = start(Start::default());
    ward.opened(None).await;
    for _ in 0..3 {
        ward.order("count");
    }
    ward.stop.send(Some(GapReason::PluginSwap)).unwrap();
    for n in 1..=4 {
        assert_eq!(ward.number().await, n); // the fourth is said at `close`
    }
    assert!(matches!(ward.next().await, ToPipeline::Closed { why: GapReason::PluginSwap, .. }));
    let left = ward.task.await.unwrap();
    assert_eq!(left.saved, Some(Kept { by: "0.1.0".into(), state: 4_u32.to_le_bytes().into() }.to_bytes()), "what it kept is handed on");
    assert!(ward.pipeline.recv().await.is_none());
    assert_eq!(ward.status.instance(&ward.name, |s| s.state.clone()), "stopped");
}

#[tokio::test]
async fn a_new_run_hears_the_state_of_its_link() {
    let mut ward = start(Start::default());
    ward.opened(None).await;
    ward.inbox.link(clock(), Event::SerialLink(LinkState::Up));
    assert_eq!(ward.number().await, 100);
    ward.order("fatal");
    ward.fault().await;
    ward.opened(Some(GapReason::PluginFault)).await;
    assert_eq!(ward.number().await, 100);
}

#[tokio::test]
async fn bytes_that_did_not_fit_are_a_loss_before_what_comes_next() {
    let (to, pipeline) = mpsc::channel(PIPELINE_ROOM);
    let mut ward = start_on("bed-2", to, pipeline, Start { inbox_bytes: 8, ..Start::default() });
    // Nothing is taken while the pipeline has no room, so the second order overruns the eight bytes.
    ward.until(|s| s.state == "healthy").await;
    ward.order("count");
    ward.order("count");
    ward.opened(None).await;
    assert_eq!(ward.number().await, 1);
    assert!(matches!(ward.next().await, ToPipeline::Lost { why: GapReason::GatewayOverrun, .. }));
    assert_eq!(ward.number().await, 102);
}

#[tokio::test]
async fn without_room_in_the_pipeline_no_event_is_taken_and_nothing_locks_up() {
    let (to, pipeline) = mpsc::channel(PIPELINE_ROOM);
    let mut ward = start_on("bed-3", to, pipeline, Start::default());
    ward.until(|s| s.state == "healthy").await;
    ward.order("count");
    // One place in that channel: that these go through means that they are taken while it waits for room.
    for ticket in 0..8 {
        ward.back.send(FromPipeline::Durable(ticket)).await.unwrap();
    }
    assert_eq!(ward.status().calls, 0);
    ward.opened(None).await;
    assert_eq!(ward.number().await, 1);
    assert_eq!(ward.status().calls, 1);
}

/// One thread for all tasks, as in the gateway: an endless call that did not pause at each tick would keep everybody from it until its end.
#[tokio::test(flavor = "current_thread")]
async fn a_call_that_burns_its_whole_deadline_delays_nobody() {
    let (to, pipeline) = mpsc::channel(PIPELINE_ROOM * 4);
    let burning = start_on("burning", to.clone(), mpsc::channel(1).1, Start::default());
    let mut other = start_on("other", to, pipeline, Start::default());
    for _ in 0..4 {
        other.next().await; // both open
    }
    burning.order("loop");
    burning.until(|s| s.calls == 1).await;
    other.order("count");
    assert_eq!(other.number().await, 1);
    assert!(matches!(other.next().await, ToPipeline::Fault { instance, .. } if instance == burning.name));
}

#[tokio::test]
async fn a_refused_write_is_answered_to_the_plugin() {
    let mut ward = start(Start { writes: Some(vec![]), ..Start::default() });
    ward.opened(None).await;
    ward.order("write");
    assert_eq!(ward.number().await, 3, "its own tag came back");
    assert_eq!(ward.status().refusals, 1);
}

#[tokio::test]
async fn health_is_shown_as_the_plugin_reports_it() {
    let mut ward = start(Start::default());
    ward.opened(None).await;
    ward.order("report");
    ward.until(|s| s.state == "degraded").await;
    assert_eq!(ward.status().detail, "paper\\u{1b}[31m out");
}

#[tokio::test]
async fn what_fails_again_and_again_is_quarantined_and_a_person_lets_it_out() {
    let mut ward = start(Start { settings: &[("at-open", "fatal")], ..Start::default() });
    ward.until(|s| s.state == "quarantined").await;
    let status = ward.status();
    assert_eq!(status.faults as usize, QUARANTINE_FAULTS);
    assert!(status.detail.contains("`wardgate instance restart bed-1-monitor` when mended"), "{}", status.detail);
    assert!(status.detail.contains("the device said no"), "{}", status.detail);
    let refused = ward.command("a", "add").await.await.unwrap().unwrap_err();
    assert!(refused.what.contains("quarantined") && refused.remedy.contains("instance restart"), "{refused}");
    let failed = ward.restart().await.unwrap_err();
    assert!(failed.what.contains("did not open"), "{failed}");
    assert_eq!(ward.status().state, "restarting", "and its past counts no more");
    ward.stop.send(Some(GapReason::GatewayRestart)).unwrap();
    ward.task.await.unwrap();
    assert!(ward.pipeline.recv().await.is_none(), "it was never open");
}

#[tokio::test]
async fn a_restart_by_hand_closes_in_order_and_opens_with_what_was_kept() {
    let mut ward = start(Start::default());
    ward.opened(None).await;
    ward.order("count");
    assert_eq!(ward.number().await, 1);
    ward.restart().await.unwrap();
    assert_eq!(ward.number().await, 2, "said at close");
    assert!(matches!(ward.next().await, ToPipeline::Closed { why: GapReason::PluginSwap, .. }));
    ward.opened(None).await;
    ward.order("count");
    assert_eq!(ward.number().await, 3);
    let status = ward.status();
    assert_eq!((status.faults, status.restarts, status.state.as_str()), (0, 1, "healthy"));
}

#[tokio::test]
async fn a_command_is_answered_when_what_it_did_is_on_flash() {
    let mut ward = start(Start::default());
    ward.opened(None).await;
    let mut answer = ward.command("a", "add").await;
    let said = ward.spoken().await;
    assert_eq!(number_in(&said), 1);
    assert_eq!(kept_in(&said).state, b"\x01\0\0\0a");
    assert!(answer.try_recv().is_err(), "a power cut now would undo it");
    ward.back.send(FromPipeline::Durable(ticket_in(&said))).await.unwrap();
    assert_eq!(answer.await.unwrap().unwrap(), b"1");
    let refused = ward.command("b", "refuse").await.await.unwrap().unwrap_err();
    assert!(refused.what.contains("the device said no"), "{refused}");
}

#[tokio::test]
async fn a_command_that_a_crash_left_open_is_answered_and_not_done_again() {
    let mut ward = start(Start::default());
    ward.opened(None).await;
    let answer = ward.command("a", "later").await;
    assert_eq!(ward.number().await, 1);
    ward.order("fatal");
    ward.fault().await;
    ward.opened(Some(GapReason::PluginFault)).await;
    assert_eq!(answer.await.unwrap().unwrap(), b"1", "told again by the same id");
    ward.order("count");
    assert_eq!(ward.number().await, 2, "it was done once");
}

#[tokio::test]
async fn a_command_that_ends_each_run_is_given_up() {
    let mut ward = start(Start::default());
    ward.opened(None).await;
    let answer = ward.command("a", "fatal").await;
    for _ in 0..3 {
        ward.fault().await;
        ward.opened(Some(GapReason::PluginFault)).await;
    }
    let given_up = answer.await.unwrap().unwrap_err();
    assert!(given_up.what.contains("3 times"), "{given_up}");
    ward.order("count");
    assert_eq!(ward.number().await, 1, "and the instance works without it");
}

#[tokio::test]
async fn what_one_left_unanswered_its_successor_answers_without_doing_it_again() {
    let mut old = start(Start::default());
    old.opened(None).await;
    let flying = old.command("a", "add").await; // done, and nobody hears any more when it is on flash
    assert_eq!(old.number().await, 1);
    old.stop.send(Some(GapReason::PluginSwap)).unwrap();
    let left = old.task.await.unwrap();

    let saved = left.saved.map(|bytes| Kept::from_bytes(&bytes).unwrap());
    let mut new = start(Start { saved, commands: left.commands, ..Start::default() });
    new.opened(None).await;
    assert_eq!(flying.await.unwrap().unwrap(), b"2", "one more was said at close");
    new.order("count");
    assert_eq!(new.number().await, 3, "it was done once");
}
