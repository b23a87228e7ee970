//! Report on change: what arrives is what an independent reading of the device's own log says must, no more and no less, and nothing is called lost.

use std::thread::sleep;
use std::time::Duration;

use wardgate_lab::accountant::{self, Content};
use wardgate_lab::demo::{books, drain_stage};
use wardgate_lab::stage::{CHILLER, Stage};
use wardgate_lab::ward;

use crate::supervision::{said, wardgate};
use crate::ward::Folder;

const CHANNEL: &str = "temperature";
const BAND: i64 = 2; // 0.2 at one decimal

//= PROMISES.md#P95
#[test]
fn on_change_what_arrives_is_what_changed() {
    let folder = Folder::new("report");
    let mut stage = Stage::new(&folder.0).expect("a stage");
    // a heartbeat within the run would fall beside a reading, on either side: the rule's own tests look at that
    stage.more = format!("\n[instance.{CHILLER}.report.{CHANNEL}]\ndead_band = \"0.2\"\n");
    stage.start_all(&[]).expect("everything starts");
    let check = said(&wardgate(&stage, &["check"]));
    let line =
        format!("{CHANNEL}: sent when it differs by more than 0.2 from what was sent last, and every 300 s; the rest is THROWN AWAY");
    assert!(check.contains(&line) && check.contains("of all other channels everything is sent"), "{check}");
    sleep(Duration::from_secs(14));
    stage.switch_off().expect("devices that listen");
    drain_stage(&mut stage).expect("it drains");

    let all = ward::read_sent(&stage.folder, CHILLER);
    let mut due: Vec<i64> = Vec::new();
    for (_, content) in &all[CHANNEL] {
        let Content::Number(n, -1) = content else { panic!("{content:?}") };
        if due.last().is_none_or(|last| (n - last).abs() > BAND) {
            due.push(*n);
        }
    }
    let received = accountant::read_received(&stage.output(), CHILLER);
    let got: Vec<i64> = received[CHANNEL].iter().map(|(_, c)| if let Content::Number(n, -1) = c { *n } else { panic!("{c:?}") }).collect();
    assert_eq!(got, due, "of {:?}", all[CHANNEL]);
    assert!(got.len() >= 3 && got.len() < all[CHANNEL].len(), "a run in which nothing is left out proves nothing: {got:?}");
    assert!(crate::ward::lost(&stage.output()).is_empty(), "what was no change is not lost");
    for (device, account) in books(&stage).into_iter().filter(|(device, _)| device != CHILLER) {
        assert!(account.adds_up() && account.missing == 0, "{device}: {account:?}");
    }
    let unchanged = stage.gateway_status().expect("it runs").instances[CHILLER].unchanged;
    assert_eq!(unchanged as usize, all[CHANNEL].len() - got.len());
}

/// Least, most, mean (at two digits more) and number of each window, as the receiver wrote them.
fn windows(stage: &Stage) -> Vec<[i64; 4]> {
    let received = accountant::read_received(&stage.output(), CHILLER);
    let numbers = |statistic: &str| -> Vec<i64> {
        let track = received.get(&format!("{CHANNEL}.{statistic}")).cloned().unwrap_or_default();
        track.into_iter().map(|(_, c)| if let Content::Number(n, _) = c { n } else { panic!("{c:?}") }).collect()
    };
    let all = ["min", "max", "mean", "count"].map(numbers);
    (0..all[0].len()).map(|n| [0, 1, 2, 3].map(|k: usize| all[k][n])).collect()
}

fn restart(stage: &mut Stage) {
    stage.gateway.as_mut().expect("it runs").stop().expect("it ends");
    stage.start_gateway().expect("it starts again");
}

fn sent(stage: &Stage) -> Vec<(u64, i64)> {
    let all = ward::read_sent(&stage.folder, CHILLER);
    all[CHANNEL].iter().map(|(at, c)| if let Content::Number(n, -1) = c { (*at, *n) } else { panic!("{c:?}") }).collect()
}

/// What is said of a channel is true, and said once.
//= PROMISES.md#P211
#[test]
fn check_says_of_each_channel_what_becomes_of_it_and_warns_where_a_rule_does_nothing() {
    let folder = Folder::new("report-check");
    let mut stage = Stage::new(&folder.0).expect("a stage");
    stage.start_broker().expect("a broker, whose certificate is looked at");
    stage.start_ward(&[]).expect("a bus with a port");
    let monitor = "[instance.bed-1-monitor.report";
    stage.more = format!(
        "\n{monitor}.ecg]\ndead_band = \"1\"\n{monitor}.hr-none]\nwindow_s = 5\n[instance.{CHILLER}.report.{CHANNEL}]\npreview_every = 10\n"
    );
    let monitor = "[instance.bed-1-monitor]\n";
    stage.instead = vec![(monitor.into(), format!("{monitor}device_serial = \"A1\"\n"))];
    stage.write_configuration().expect("written");
    let check = wardgate(&stage, &["check"]);
    assert!(check.status.success(), "{}", said(&check));
    let check = said(&check);
    for says in [
        "  ecg: everything is sent as it comes, it is a waveform\n",
        "no such rule is for a channel that is a waveform",
        "  hr-none: nothing of it is known, so nothing is sent or thrown away\n",
        "describes no channel \"hr-none\" when it opens",
        "  temperature: everything is sent as it comes, it is numeric\n",
        "no such rule is for a channel that is numeric",
        "ivy450c-0.1.0 did not say who its device is when it was opened",
    ] {
        assert!(check.contains(says), "{says} is not in {check}");
    }
    assert!(!check.contains("THROWN AWAY") && !check.contains(".preview"), "{check}");
}

//= PROMISES.md#P124
#[test]
fn in_windows_what_arrives_is_what_the_values_come_to_and_a_preview_goes_beside_the_whole() {
    let folder = Folder::new("windows");
    let mut stage = Stage::new(&folder.0).expect("a stage");
    stage.more =
        format!("\n[instance.{CHILLER}.report.{CHANNEL}]\nwindow_s = 2\n[instance.bed-1-monitor.report.ecg]\npreview_every = 10\n");
    stage.start_all(&[]).expect("everything starts");
    let check = said(&wardgate(&stage, &["check"]));
    assert!(check.contains(&format!("{CHANNEL}: sent as least, most, mean and number of its values in each 2 s")), "{check}");
    assert!(check.contains("each 10th sample goes ahead as ecg.preview, marked derived"), "{check}");
    sleep(Duration::from_secs(9));
    stage.switch_off().expect("devices that listen");
    restart(&mut stage); // its clean end tells the window that is open
    drain_stage(&mut stage).expect("it drains");

    let (told, all) = (windows(&stage), sent(&stage));
    assert!(told.len() >= 3, "{told:?}");
    assert_eq!(told.iter().map(|w| w[3]).sum::<i64>(), all.len() as i64, "{told:?} of {all:?}");
    let values = || all.iter().map(|(_, n)| *n);
    assert_eq!((told.iter().map(|w| w[0]).min(), told.iter().map(|w| w[1]).max()), (values().min(), values().max()));
    // each mean is rounded by half of its last digit at most
    let apart = (told.iter().map(|w| w[2] * w[3]).sum::<i64>() - 100 * values().sum::<i64>()).abs();
    assert!(apart <= all.len() as i64, "{told:?} of {all:?}");
    let gaps = crate::ward::lost(&stage.output());
    let lost: Vec<_> = gaps.iter().filter(|g| g.instance == CHILLER && g.indices > 0).collect();
    assert!(lost.is_empty(), "what is summed up is not lost: {lost:?}");
    let whole = accountant::read_received(&stage.output(), "bed-1-monitor");
    let samples = |channel: &str| -> Vec<i64> {
        let blocks = whole[channel].iter();
        blocks.flat_map(|(_, c)| if let Content::Samples(s) = c { s.clone() } else { panic!("{c:?}") }).collect()
    };
    assert_eq!(samples("ecg.preview"), samples("ecg").into_iter().step_by(10).collect::<Vec<_>>());
    for (device, account) in books(&stage).into_iter().filter(|(device, _)| device == "bed-2-monitor") {
        assert!(account.adds_up() && account.missing == 0, "{device}: {account:?}");
    }
}

/// What is on flash is told although the window never came to its end.
//= PROMISES.md#P125
#[test]
fn a_window_that_was_open_at_a_power_cut_is_told() {
    let folder = Folder::new("window-cut");
    let mut stage = Stage::new(&folder.0).expect("a stage");
    stage.more = format!("\n[instance.{CHILLER}.report.{CHANNEL}]\nwindow_s = 86400\n");
    stage.start_all(&[]).expect("everything starts");
    sleep(Duration::from_secs(5));
    let killed_at = wardgate::gateway::boottime_ns();
    stage.gateway.as_mut().expect("it runs").kill();
    let durable = sent(&stage).into_iter().filter(|(at, _)| at + 2_500_000_000 < killed_at).count() as i64; // a commit each second, and one under way
    stage.start_gateway().expect("it starts again");
    sleep(Duration::from_secs(3));
    stage.switch_off().expect("devices that listen");
    restart(&mut stage);
    drain_stage(&mut stage).expect("it drains");
    let told = windows(&stage);
    assert_eq!(told.len(), 2, "what was before the cut, and what was after it: {told:?}");
    let before = sent(&stage).into_iter().filter(|(at, _)| *at < killed_at).count() as i64;
    assert!(durable > 0 && (durable..=before).contains(&told[0][3]), "{durable} to {before}: {told:?}");
    let gaps = crate::ward::lost(&stage.output());
    assert!(gaps.iter().any(|g| g.channel == format!("{CHANNEL}.mean") && g.reason == "gateway-restart"), "{gaps:?}");
    assert!(gaps.iter().all(|g| g.reason != "unknown"), "{gaps:?}");
}
