//! Each rule of the ledger at the receiver's end, one scene a rule.

use wardgate_wire::{
    BatchKey, ClassEnd, Decimal, DeviceTime, InstanceNumerics, NumberedObservation, NumberedReading, Predecessor, RunRange, Value,
};

use super::*;

const NONE: Digest = Digest([0; 16]);

fn d(n: u8) -> Digest {
    Digest([n; 16])
}

fn ward() -> GatewayId {
    GatewayId::new("ward-1").unwrap()
}

fn stream() -> Stream {
    Stream { instance: "bed-1".into(), source: Source::Channel(0) }
}

fn at(monotonic_ns: u64) -> Moment {
    Moment { boot: 1, monotonic_ns }
}

/// One reading at each index.
fn numeric(run: Run, indices: std::ops::Range<u64>) -> Content {
    let reading =
        |index| NumberedReading { channel: 0, run, index, value: Value::Number(Decimal { mantissa: 1, exponent: 0 }), quality: 0 };
    let observation = |index| NumberedObservation { moment: at(index), at: DeviceTime::NotTold, readings: vec![reading(index)] };
    Content::Numerics(vec![InstanceNumerics { instance: "bed-1".into(), late: false, observations: indices.map(observation).collect() }])
}

fn range(run: Run, first: u64, next: u64) -> RunRange {
    RunRange { stream: stream(), run, first, next, count: next - first, first_moment: at(first), last_moment: at(next) }
}

fn closing(epoch: EpochNumber, classes: &[(Class, u32, Digest)], runs: Vec<RunRange>) -> Closing {
    let classes = classes.iter().map(|&(class, count, last)| ClassEnd { class, count, last }).collect();
    Closing { epoch, clean: false, classes, runs }
}

fn opening(predecessor: Option<(Life, Closing)>) -> Entry {
    let predecessor = predecessor.map(|(life, closing)| Predecessor { life, closing });
    Entry::Opening { predecessor, reason: GapReason::PowerCut, software: "test".into() }
}

fn gap(life: Life, run: Run, first: u64, indices: u64) -> Entry {
    let (from, to) = (at(first), at(first + indices));
    Entry::Gap { life, stream: stream(), run, first, indices, values: Some(indices), from, to, reason: GapReason::DiskFull }
}

#[derive(Default)]
struct Desk(Ledger);

impl Desk {
    fn put(
        &mut self,
        (life, epoch, class, sequence): (Life, u32, Class, u32),
        digest: Digest,
        previous: Digest,
        content: &Content,
    ) -> Verdict {
        let key = BatchKey { life, epoch, class, sequence };
        self.0.accept(&Header { gateway: ward(), key, previous }, digest, Some(content))
    }

    fn fresh(&mut self, key: (Life, u32, Class, u32), digest: Digest, previous: Digest, content: &Content) -> News {
        match self.put(key, digest, previous, content) {
            Verdict::New(news) => news,
            other => panic!("{key:?} should be new: {other:?}"),
        }
    }

    fn ledger(&mut self, life: Life, epoch: u32, sequence: u32, digest: Digest, previous: Digest, entries: Vec<Entry>) -> News {
        self.fresh((life, epoch, Class::Ledger, sequence), digest, previous, &Content::Ledger(entries))
    }

    fn ack(&self, life: Life, epoch: u32, class: Class) -> Option<AckEntry> {
        self.0.acknowledgement(&ward(), life, epoch, class)
    }

    fn summary(&self) -> Summary {
        self.0.gateway(&ward()).unwrap().summary()
    }

    /// Epoch 0 of life 7: its opening (digest 100) and two numeric batches (1, 2) with positions 0..4.
    fn first_epoch(&mut self) {
        self.ledger(7, 0, 0, d(100), NONE, vec![opening(None)]);
        self.fresh((7, 0, Class::Numeric, 0), d(1), NONE, &numeric(1, 0..2));
        self.fresh((7, 0, Class::Numeric, 1), d(2), d(1), &numeric(1, 2..4));
    }
}

fn ends() -> [(Class, u32, Digest); 2] {
    [(Class::Ledger, 1, d(100)), (Class::Numeric, 2, d(2))]
}

fn up_to(life: Life, epoch: u32, class: Class, high: u32, digest: Digest, missing: &[(u32, u32)]) -> Option<AckEntry> {
    Some(AckEntry::UpTo { life, epoch, class, high, digest, missing: missing.to_vec() })
}

#[test]
fn any_class_in_any_order_and_every_repeat_is_answered() {
    let mut desk = Desk::default();
    desk.fresh((7, 3, Class::Numeric, 5), d(6), d(5), &numeric(1, 10..12));
    assert_eq!(desk.ack(7, 3, Class::Numeric), up_to(7, 3, Class::Numeric, 5, d(6), &[(0, 4)]));
    desk.fresh((7, 3, Class::Numeric, 2), d(3), d(2), &numeric(1, 4..6));
    assert!(matches!(desk.put((7, 3, Class::Numeric, 5), d(6), d(5), &numeric(1, 10..12)), Verdict::Had));
    assert_eq!(desk.ack(7, 3, Class::Numeric), up_to(7, 3, Class::Numeric, 5, d(6), &[(0, 1), (3, 4)]));
    assert_eq!(desk.ack(7, 3, Class::Alert), None);
    assert_eq!(desk.ack(8, 3, Class::Numeric), None);
}

#[test]
fn an_acknowledgement_names_a_bounded_number_of_holes() {
    let mut desk = Desk::default();
    for n in 0..200_u32 {
        desk.fresh((7, 0, Class::Numeric, 2 * n + 1), d(9), d(8), &numeric(1, 0..0));
    }
    let Some(AckEntry::UpTo { high, missing, .. }) = desk.ack(7, 0, Class::Numeric) else { panic!("none") };
    assert_eq!((missing.len(), high), (ACK_RANGES_MAX, 2 * ACK_RANGES_MAX as u32 - 1));
}

#[test]
fn the_same_identity_with_other_content_is_a_conflict() {
    let mut desk = Desk::default();
    desk.first_epoch();
    let other = desk.put((7, 0, Class::Numeric, 1), d(66), d(1), &numeric(1, 2..4));
    assert!(matches!(other, Verdict::Conflict(Contradiction::SameIdentity { held }) if held == d(2)), "{other:?}");
    assert_eq!(desk.ack(7, 0, Class::Numeric), up_to(7, 0, Class::Numeric, 1, d(2), &[]), "what is held stays acknowledged as it is");
}

#[test]
fn a_chain_broken_on_either_side_is_a_conflict() {
    let mut desk = Desk::default();
    desk.first_epoch();
    let after = desk.put((7, 0, Class::Numeric, 2), d(3), d(66), &numeric(1, 4..5));
    assert!(matches!(after, Verdict::Conflict(Contradiction::BrokenChain)), "{after:?}");
    desk.fresh((7, 0, Class::Numeric, 4), d(5), d(4), &numeric(1, 6..7));
    let before = desk.put((7, 0, Class::Numeric, 3), d(66), d(3), &numeric(1, 5..6));
    assert!(matches!(before, Verdict::Conflict(Contradiction::BrokenChain)), "{before:?}");
    desk.fresh((7, 0, Class::Numeric, 3), d(4), d(3), &numeric(1, 5..6));
}

#[test]
fn an_epoch_closes_when_its_own_life_has_closed_it_and_everything_is_there() {
    let mut desk = Desk::default();
    desk.fresh((7, 0, Class::Numeric, 1), d(2), d(1), &numeric(1, 2..4));
    let news = desk.ledger(7, 1, 0, d(101), NONE, vec![Entry::Closing(closing(0, &ends(), vec![range(1, 0, 4)]))]);
    assert!(news.closed.is_empty(), "a batch and the ledger are missing");
    assert!(desk.fresh((7, 0, Class::Numeric, 0), d(1), NONE, &numeric(1, 0..2)).closed.is_empty(), "the ledger is missing");
    let news = desk.ledger(7, 0, 0, d(100), NONE, vec![opening(None)]);
    assert_eq!((news.closed, news.lost, news.wrong), (vec![(7, 0)], vec![], vec![]));
    for class in Class::ALL {
        assert_eq!(desk.ack(7, 0, class), Some(AckEntry::Closed { life: 7, epoch: 0 }), "frees every class");
    }
    assert!(matches!(desk.put((7, 0, Class::Numeric, 9), d(66), d(65), &numeric(1, 0..2)), Verdict::Had), "answered, and nothing else");
    assert_eq!(desk.summary(), Summary { lives: 1, epochs_open: 1, epochs_closed: 1, batches: 1, ..Summary::default() });
}

#[test]
fn closed_epochs_leave_one_range_and_nothing_else() {
    let mut desk = Desk::default();
    desk.ledger(7, 0, 0, d(100), NONE, vec![opening(None)]);
    for epoch in 1..2000 {
        desk.fresh((7, epoch - 1, Class::Numeric, 0), d(1), NONE, &numeric(1, u64::from(epoch)..u64::from(epoch) + 1));
        let ends = [(Class::Ledger, 1, d(100)), (Class::Numeric, 1, d(1))];
        let runs = vec![range(1, u64::from(epoch), u64::from(epoch) + 1)];
        let news = desk.ledger(7, epoch, 0, d(100), NONE, vec![Entry::Closing(closing(epoch - 1, &ends, runs))]);
        assert_eq!(news.closed, [(7, epoch - 1)]);
    }
    let life = &desk.0.gateways[&ward()].lives[&7];
    assert_eq!((life.epochs.len(), life.closed.iter().count(), life.gaps.len()), (1, 1, 0));
}

#[test]
fn nothing_can_follow_what_a_life_itself_has_closed() {
    let mut desk = Desk::default();
    desk.first_epoch();
    let short = [(Class::Ledger, 2, d(102)), (Class::Numeric, 2, d(2))];
    desk.ledger(7, 1, 0, d(101), NONE, vec![Entry::Closing(closing(0, &short, vec![range(1, 0, 4)]))]);
    let beyond = desk.put((7, 0, Class::Numeric, 2), d(3), d(2), &numeric(1, 4..5));
    assert!(matches!(beyond, Verdict::Conflict(Contradiction::BeyondClosing)), "{beyond:?}");
    let again = desk.ledger(7, 1, 1, d(103), d(101), vec![Entry::Closing(closing(0, &ends(), vec![]))]);
    assert_eq!(again.wrong[0], Contradiction::TwoClosings);
}

#[test]
fn a_closing_that_contradicts_what_is_held_closes_nothing_and_loses_nothing() {
    let mut desk = Desk::default();
    desk.first_epoch();
    let wrong = [(Class::Ledger, 1, d(100)), (Class::Numeric, 2, d(66))];
    let news = desk.ledger(7, 1, 0, d(101), NONE, vec![Entry::Closing(closing(0, &wrong, vec![range(1, 0, 4)]))]);
    assert_eq!((news.closed.len(), news.wrong), (0, vec![Contradiction::DigestAtClosing { said: d(66) }]));
    assert_eq!(desk.ack(7, 0, Class::Numeric), up_to(7, 0, Class::Numeric, 1, d(2), &[]));
    let mut desk = Desk::default();
    desk.first_epoch();
    let fewer = [(Class::Ledger, 1, d(100)), (Class::Numeric, 1, d(1))];
    let news = desk.ledger(7, 1, 0, d(101), NONE, vec![Entry::Closing(closing(0, &fewer, vec![range(1, 0, 2)]))]);
    assert_eq!((news.closed.len(), news.wrong), (0, vec![Contradiction::BeyondClosing]));
}

#[test]
fn a_successor_settles_what_lies_below_its_closing_and_nothing_else() {
    let mut desk = Desk::default();
    desk.first_epoch();
    let news = desk.ledger(8, 0, 0, d(110), NONE, vec![opening(Some((7, closing(0, &ends(), vec![range(1, 0, 4)]))))]);
    assert_eq!((news.closed.len(), news.lost.len(), news.forks.len()), (0, 0, 0), "settled, not closed");
    assert_eq!(desk.ack(7, 0, Class::Numeric), up_to(7, 0, Class::Numeric, 1, d(2), &[]));
    assert!(matches!(desk.put((7, 0, Class::Numeric, 0), d(1), NONE, &numeric(1, 0..2)), Verdict::Had), "below the mark");
    assert_eq!(desk.summary().batches, 1, "only the marks stay of what is settled");
    let forked = desk.put((7, 0, Class::Numeric, 2), d(3), d(66), &numeric(1, 4..5));
    assert!(matches!(forked, Verdict::Conflict(Contradiction::BrokenChain)), "the chain holds across the mark: {forked:?}");
    let news = desk.fresh((7, 0, Class::Numeric, 2), d(3), d(2), &numeric(1, 4..5));
    assert_eq!(news.forks, [7], "what goes on above is a fork, and accepted");
    assert!(desk.fresh((7, 0, Class::Numeric, 3), d(4), d(3), &numeric(1, 5..6)).forks.is_empty(), "recorded once");
    let more = [(Class::Ledger, 1, d(100)), (Class::Numeric, 4, d(4))];
    let news = desk.ledger(7, 1, 0, d(101), NONE, vec![Entry::Closing(closing(0, &more, vec![range(1, 0, 7)]))]);
    assert_eq!(news.closed, [(7, 0)], "the life itself may still close what a successor has settled");
    let holes: Vec<_> = news.lost.iter().map(|l| (l.first, l.indices, l.reason)).collect();
    assert_eq!(holes, [(6, 1, GapReason::Unknown)], "and only what lies above is judged then");
}

#[test]
fn a_predecessor_never_heard_of_is_owed() {
    let mut desk = Desk::default();
    let news = desk.ledger(8, 0, 0, d(110), NONE, vec![opening(Some((7, closing(0, &ends(), vec![range(1, 0, 4)]))))]);
    assert!(news.wrong.is_empty() && news.forks.is_empty());
    assert_eq!(desk.summary().owed, 1);
    desk.first_epoch();
    assert_eq!((desk.summary().owed, desk.summary().batches), (0, 1), "it came later, and was settled as it came");
}

#[test]
fn two_lives_that_name_one_predecessor_are_a_fork_recorded_once() {
    let mut desk = Desk::default();
    desk.first_epoch();
    let end = || closing(0, &ends(), vec![range(1, 0, 4)]);
    assert!(desk.ledger(8, 0, 0, d(110), NONE, vec![opening(Some((7, end())))]).forks.is_empty());
    assert_eq!(desk.ledger(9, 0, 0, d(120), NONE, vec![opening(Some((7, end())))]).forks, [7]);
    assert!(desk.ledger(10, 0, 0, d(130), NONE, vec![opening(Some((7, end())))]).forks.is_empty());
    assert_eq!(desk.summary().forks, 1);
    let own = desk.ledger(11, 0, 0, d(140), NONE, vec![opening(Some((11, end())))]);
    assert_eq!(own.wrong, [Contradiction::OwnPredecessor]);
}

#[test]
fn a_gap_explains_its_positions_and_two_copies_of_a_card_tell_it_once() {
    let mut desk = Desk::default();
    desk.first_epoch();
    let end = || closing(0, &ends(), vec![range(1, 0, 6)]);
    let news = desk.ledger(8, 0, 0, d(110), NONE, vec![opening(Some((7, end()))), gap(7, 1, 4, 2)]);
    assert_eq!((news.lost.len(), news.lost[0].first, news.lost[0].indices, news.lost[0].reason), (1, 4, 2, GapReason::DiskFull));
    let news = desk.ledger(9, 0, 0, d(120), NONE, vec![opening(Some((7, end()))), gap(7, 1, 4, 2)]);
    assert_eq!(news.lost, [], "told before");
}

#[test]
fn a_gap_that_covers_what_came_is_a_contradiction_and_the_data_stays() {
    let mut desk = Desk::default();
    desk.ledger(7, 0, 0, d(100), NONE, vec![opening(None), gap(7, 1, 3, 2)]);
    desk.fresh((7, 0, Class::Numeric, 0), d(1), NONE, &numeric(1, 0..2));
    desk.fresh((7, 0, Class::Numeric, 1), d(2), d(1), &numeric(1, 2..4));
    let news = desk.ledger(7, 1, 0, d(101), NONE, vec![Entry::Closing(closing(0, &ends(), vec![range(1, 0, 5)]))]);
    assert_eq!((news.closed.len(), news.wrong, news.lost), (1, vec![Contradiction::Twice(1)], vec![]));
    let twice = desk.fresh((7, 1, Class::Numeric, 0), d(9), NONE, &numeric(1, 7..9));
    assert!(twice.wrong.is_empty());
    assert_eq!(desk.fresh((7, 1, Class::Numeric, 1), d(10), d(9), &numeric(1, 8..10)).wrong, [Contradiction::Twice(1)]);
}

#[test]
fn a_hole_that_nothing_explains_is_named() {
    let mut desk = Desk::default();
    desk.first_epoch();
    let news = desk.ledger(7, 1, 0, d(101), NONE, vec![gap(7, 1, 4, 1), Entry::Closing(closing(0, &ends(), vec![range(1, 0, 7)]))]);
    let lost: Vec<_> = news.lost.iter().map(|l| (l.first, l.indices, l.reason)).collect();
    assert_eq!(lost, [(4, 1, GapReason::DiskFull), (5, 2, GapReason::Unknown)]);
    assert_eq!((news.lost[1].from, news.lost[1].to), (Some(at(0)), at(7)), "bounded by what is known of the run");
}

#[test]
fn a_shed_is_a_claim_until_the_epoch_closes_and_data_wins() {
    let mut desk = Desk::default();
    desk.ledger(7, 0, 0, d(100), NONE, vec![opening(None)]);
    desk.fresh((7, 0, Class::Numeric, 1), d(2), d(1), &numeric(1, 2..4));
    let shed = Entry::Shed { life: 7, epoch: 0, class: Class::Numeric, below: 2 };
    assert!(desk.ledger(7, 1, 0, d(101), NONE, vec![Entry::Closing(closing(0, &ends(), vec![range(1, 0, 4)]))]).closed.is_empty());
    let news = desk.ledger(7, 1, 1, d(102), d(101), vec![shed]);
    let lost: Vec<_> = news.lost.iter().map(|l| (l.first, l.indices, l.shed.clone())).collect();
    assert_eq!((news.closed, lost), (vec![(7, 0)], vec![(0, 2, vec![Class::Numeric])]));
    assert!(matches!(desk.put((7, 0, Class::Numeric, 0), d(1), NONE, &numeric(1, 0..2)), Verdict::Had), "a late copy is dropped");
    assert_eq!(desk.ack(7, 0, Class::Numeric), Some(AckEntry::Closed { life: 7, epoch: 0 }));
}

#[test]
fn a_batch_that_cannot_be_read_is_held_and_holes_are_not_guessed_from_it() {
    let mut desk = Desk::default();
    desk.first_epoch();
    let key = BatchKey { life: 7, epoch: 0, class: Class::Waveform, sequence: 0 };
    let verdict = desk.0.accept(&Header { gateway: ward(), key, previous: NONE }, d(50), None);
    assert!(matches!(verdict, Verdict::New(_)));
    let ends = [(Class::Ledger, 1, d(100)), (Class::Numeric, 2, d(2)), (Class::Waveform, 1, d(50))];
    let news = desk.ledger(7, 1, 0, d(101), NONE, vec![Entry::Closing(closing(0, &ends, vec![range(1, 0, 4), range(2, 0, 9)]))]);
    assert_eq!((news.closed.len(), news.lost.len(), news.unjudged), (1, 0, 1));
}

#[test]
fn a_preview_is_a_stream_of_its_own_and_hides_no_hole() {
    let mut desk = Desk::default();
    desk.first_epoch();
    let track = wardgate_wire::WaveformTrack {
        instance: "bed-1".into(),
        channel: 0x8004,
        run: 1,
        first: 0,
        late: false,
        pieces: vec![wardgate_wire::Piece { count: 2, moment: at(4), at: wardgate_wire::DeviceTime::NotTold, quality: 0 }],
        counts: vec![1, 2],
    };
    desk.fresh((7, 0, Class::Preview, 0), d(60), NONE, &Content::Waveforms(vec![track]));
    let ends = [(Class::Ledger, 1, d(100)), (Class::Numeric, 2, d(2)), (Class::Preview, 1, d(60))];
    let of_preview = RunRange { stream: Stream { instance: "bed-1".into(), source: Source::Channel(0x8004) }, ..range(1, 0, 3) };
    let news = desk.ledger(7, 1, 0, d(101), NONE, vec![Entry::Closing(closing(0, &ends, vec![range(1, 0, 6), of_preview]))]);
    let lost: Vec<_> = news.lost.iter().map(|l| (l.stream.source, l.first, l.indices)).collect();
    assert_eq!(lost, [(Source::Channel(0), 4, 2), (Source::Channel(0x8004), 2, 1)]);
}

// ---------- what went with a store (rule 10)

const SILENT_NS: i64 = 1000;

impl Desk {
    fn heard(&mut self, life: Life, received_ns: i64) {
        self.0.heard(&ward(), life, received_ns);
    }

    /// Run, first position, how many (0: what followed, nobody knows how much).
    fn store_lost(&self) -> Vec<(Life, Run, u64, u64)> {
        let lost = self.0.gateway(&ward()).unwrap().store_lost(SILENT_NS);
        assert!(lost.iter().all(|l| l.reason == GapReason::StoreLost));
        lost.into_iter().map(|l| (l.life, l.run, l.first, l.indices)).collect()
    }

    fn life(&mut self, life: Life, predecessor: Option<(Life, Closing)>, received_ns: i64) {
        self.ledger(life, 0, 0, d(100), NONE, vec![opening(predecessor)]);
        self.heard(life, received_ns);
    }
}

#[test]
fn a_life_after_which_one_without_a_past_opens_was_lost_with_its_store() {
    let mut desk = Desk::default();
    desk.first_epoch();
    desk.heard(7, 10);
    assert_eq!(desk.store_lost(), [], "nothing speaks against it that more is to come");
    desk.life(9, None, 20);
    assert_eq!(desk.store_lost(), [(7, 1, 4, 0)], "what followed position 3");
    desk.fresh((9, 0, Class::Numeric, 0), d(50), NONE, &numeric(1, 0..1));
    desk.heard(9, 21);
    assert_eq!(desk.0.gateway(&ward()).unwrap().store_lost(SILENT_NS)[0].to, at(0), "until the new life's first value");
    // it speaks after all: a card put back
    desk.fresh((7, 0, Class::Numeric, 3), d(4), d(3), &numeric(1, 6..8));
    desk.heard(7, 30);
    assert_eq!(desk.store_lost(), []);
    assert_ne!(desk.ack(7, 0, Class::Numeric), Some(AckEntry::Closed { life: 7, epoch: 0 }), "never said to be closed");
    desk.heard(9, 31 + SILENT_NS);
    assert_eq!(desk.store_lost(), [(7, 1, 4, 2), (7, 1, 8, 0)], "silent again for too long: the hole, and what followed");
    desk.fresh((7, 0, Class::Numeric, 2), d(3), d(2), &numeric(1, 4..6));
    assert_eq!(desk.store_lost(), [(7, 1, 8, 0)], "data replaces it");
}

#[test]
fn what_a_clean_closing_says_is_held_no_more_is_lost_ancestors_included() {
    let mut desk = Desk::default();
    desk.life(7, None, 10);
    desk.fresh((7, 0, Class::Numeric, 0), d(1), NONE, &numeric(1, 0..2));
    let end = closing(0, &[(Class::Ledger, 1, d(100)), (Class::Numeric, 3, d(3))], vec![range(1, 0, 6)]);
    desk.life(8, Some((7, end)), 11);
    assert_eq!(desk.store_lost(), [], "the rest may still be on its way");
    let clean = Closing { clean: true, ..closing(0, &[(Class::Ledger, 1, d(100))], vec![]) };
    desk.ledger(8, 1, 0, d(101), NONE, vec![Entry::Closing(clean)]);
    assert_eq!(desk.store_lost(), [(7, 1, 2, 4), (7, 1, 6, 0)], "nothing older than epoch 0 of life 8 is held, of any life");
}

#[test]
fn lives_that_follow_one_another_and_came_whole_have_lost_nothing() {
    let mut desk = Desk::default();
    desk.first_epoch();
    desk.heard(7, 10);
    for life in 8..20 {
        let before = life - 1;
        let classes: &[_] = if before == 7 { &ends() } else { &[(Class::Ledger, 1, d(100))] };
        let runs = if before == 7 { vec![range(1, 0, 4)] } else { vec![] };
        desk.life(life, Some((before, closing(0, classes, runs))), 10 * SILENT_NS * life as i64);
        assert_eq!(desk.store_lost(), [], "life {life}");
    }
    desk.life(30, None, i64::MAX - SILENT_NS - 1);
    assert_eq!(desk.store_lost().len(), 0, "life 19 had no values, and all before it is settled");
}
