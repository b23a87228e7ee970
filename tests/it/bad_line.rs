//! A bad line: messages cut short, messages with flipped bits, bytes between messages that belong to nothing, while alarms come and go. Each
//! message arrives whole as the line had it, or is named as lost by its line; every alarm that the devices raised is in the receiver's lines, once.

use std::collections::BTreeMap;

use serde_json::Value as Json;
use wardgate_lab::accountant::{self, ALERTS, Account, Tracks};
use wardgate_lab::demo::drain_stage;
use wardgate_lab::sim::serial::{IVY450C_VALUES, Said};
use wardgate_lab::stage::{CHILLER, MONITORS, Stage};
use wardgate_lab::ward::{self, Fate, WRONG_BITS, fates};

use crate::ward::{Folder, wait};

/// From here on, alarms of both beds are raised and end within the messages that are waited for.
const FROM: &str = "91";
const MESSAGES: usize = 17;

/// One change of an alert.
#[derive(Clone, Debug, PartialEq)]
struct Told {
    channel: String,
    text: String,
    state: String,
}

/// Whether a text in the label's place names what is measured; otherwise it is a message of the monitor (plugins/ivy450c/README.md).
fn names_what_is_measured(line: &str, text: &str) -> bool {
    match line {
        "HR" => text.starts_with("ECG"),
        "P1" | "P2" | "T1" | "T2" => text.len() <= 4 && text.bytes().all(|b| b.is_ascii_alphanumeric()),
        _ => false,
    }
}

/// The lines of a message in their order, and the channel that their alerts belong to.
const LINES: [(&str, &str); 9] = [
    ("HR", "hr"),
    ("RR", "rr"),
    ("ETCO2", "etco2"),
    ("SPO2", "spo2"),
    ("NIBP", "nibp-sys"),
    ("P1", "p1-sys"),
    ("P2", "p2-sys"),
    ("T1", "t1"),
    ("T2", "t2"),
];

/// What a reader of these messages has to tell, in order: a text is active when it appears and inactive when it goes; one of which only digits
/// change is the same, told again.
fn alerts_of<'a>(messages: impl Iterator<Item = &'a Said>) -> Vec<Told> {
    let mut shown = BTreeMap::<(&str, bool), String>::new();
    let mut told = Vec::new();
    let without_digits = |text: &str| text.chars().filter(|c| !c.is_ascii_digit()).collect::<String>();
    for said in messages {
        for (line, channel) in LINES {
            let label = said.labels.get(line).filter(|text| !names_what_is_measured(line, text));
            for (in_alarm_place, text) in [(false, label), (true, said.alarms.get(line))] {
                let (new, old) = (text.cloned().unwrap_or_default(), shown.entry((line, in_alarm_place)).or_default());
                let mut tell = |text: &str, state: &str| {
                    let (channel, text, state) = (channel.to_owned(), text.to_owned(), state.to_owned());
                    told.push(Told { channel, text, state });
                };
                if new == *old {
                    continue;
                }
                if !old.is_empty() && without_digits(old) != without_digits(&new) {
                    tell(old, "inactive");
                }
                if !new.is_empty() {
                    tell(&new, "active");
                }
                *old = new;
            }
        }
    }
    told
}

/// The chiller's alarm bit, as its map tells it: of no channel.
fn chiller_alerts(stage: &Stage) -> Vec<Told> {
    const STATUS: u16 = 4;
    const STOPPED_BY_ALARM: u16 = 1 << 1;
    let status = ward::chiller_said(&stage.folder).into_iter().filter_map(|said| {
        let at = STATUS.checked_sub(said.address)?;
        said.registers.get(usize::from(at)).copied()
    });
    let (mut active, mut told) = (false, Vec::new());
    for word in status {
        let now = word & STOPPED_BY_ALARM != 0;
        if now != active {
            let state = if now { "active" } else { "inactive" };
            told.push(Told { channel: String::new(), text: "operation stop alarm".into(), state: state.into() });
        }
        active = now;
    }
    told
}

/// The receiver's alert lines of an instance, in their order; every end has the identifier of its beginning, and no two beginnings share one.
fn alerts_received(stage: &Stage, instance: &str) -> Vec<Told> {
    let mut lines = accountant::lines_below(&stage.output().join(instance).join(ALERTS));
    lines.sort_by_key(|l| (l["run"].as_u64(), l["index"].as_u64()));
    let text = |l: &Json, key: &str| l[key].as_str().unwrap_or_default().to_owned();
    // an alert that overtook the first description has its channel as a number
    let numbered = accountant::lines_below(&stage.output().join(instance));
    let names: BTreeMap<String, String> = numbered.iter().map(|l| (format!("#{}", l["number"]), text(l, "channel"))).collect();
    let channel_of = |l: &Json| names.get(&text(l, "alert_channel")).cloned().unwrap_or_else(|| text(l, "alert_channel"));
    let mut active = BTreeMap::<u64, String>::new();
    for l in &lines {
        let (id, channel) = (l["id"].as_u64().expect("an identifier"), channel_of(l));
        match active.remove(&id) {
            Some(begun) => assert_eq!(begun, channel, "{l}"),
            None => assert_eq!(l["state"], "active", "an end without a beginning: {l}"),
        }
        if l["state"] == "active" {
            active.insert(id, channel);
        }
    }
    lines.iter().map(|l| Told { channel: channel_of(l), text: text(l, "text"), state: text(l, "state") }).collect()
}

//= PROMISES.md#P15
#[test]
fn a_bad_line_loses_what_it_damaged_and_nothing_else_and_no_alarm() {
    let folder = Folder::new("line");
    let mut stage = Stage::new(&folder.0).expect("a stage");
    stage.start_all(&["--trouble", "--from", FROM]).expect("everything starts");
    let said = |stage: &Stage, device: &str| ward::monitor_said(&stage.folder, device);
    wait("the messages of both beds", || MONITORS.iter().all(|(name, _)| said(&stage, name).len() >= MESSAGES));
    stage.switch_off().expect("devices that listen");
    drain_stage(&mut stage).expect("it drains");

    let gaps = crate::ward::lost(&stage.output());
    assert!(gaps.iter().all(|g| g.reason == "line-fault"), "{gaps:#?}");
    let (mut lost, mut taken_with_wrong_bits, mut ended) = (0, 0, 0);
    for (device, _) in MONITORS {
        let received = accountant::read_received(&stage.output(), device);
        let fates = fates(said(&stage, device), &received);
        let all: Vec<&Said> = fates
            .iter()
            .map(|fate| match fate {
                Fate::Arrived(said) | Fate::Lost(said) => said,
            })
            .collect();
        let arrived: Vec<&Said> = fates.iter().filter_map(|f| if let Fate::Arrived(said) = f { Some(said) } else { None }).collect();
        taken_with_wrong_bits += arrived.iter().filter(|s| s.damage.as_deref() == Some(WRONG_BITS)).count();
        let Account { missing, .. } = account(device, &ward::monitor_tracks(all.iter().copied()), &received, &gaps);
        assert_eq!(
            missing,
            (all.len() - arrived.len()) as u64 * IVY450C_VALUES,
            "{device}: each damaged message is missing whole, and no other"
        );
        lost += all.len() - arrived.len();
        let (expected, got) = (alerts_of(arrived.into_iter()), alerts_received(&stage, device));
        assert_eq!(expected, got, "{device}");
        ended += got.iter().filter(|a| a.state == "inactive").count();
    }
    let received = accountant::read_received(&stage.output(), CHILLER);
    let chiller = account(CHILLER, &ward::read_sent(&stage.folder, CHILLER), &received, &gaps);
    assert_eq!(chiller.missing, 0, "{chiller:#?}");
    let expected = chiller_alerts(&stage);
    assert_eq!(expected, alerts_received(&stage, CHILLER));
    println!("{lost} messages lost, {taken_with_wrong_bits} taken with wrong bits, {ended} alarms ended; the chiller's {}", expected.len());
    assert!(lost >= 8 && taken_with_wrong_bits > 0 && ended >= 3 && expected.len() == 2, "a run in which nothing happens proves nothing");
}

fn account(device: &str, sent: &Tracks, received: &Tracks, gaps: &[accountant::Gap]) -> Account {
    let account = accountant::compare(device, sent, received, gaps);
    assert!(account.adds_up(), "{device}: {account:#?}\n{gaps:#?}");
    account
}
