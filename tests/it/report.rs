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
    assert!(accountant::read_gaps(&stage.output()).is_empty(), "what was no change is not lost");
    for (device, account) in books(&stage).into_iter().filter(|(device, _)| device != CHILLER) {
        assert!(account.adds_up() && account.missing == 0, "{device}: {account:?}");
    }
    let unchanged = stage.gateway_status().expect("it runs").instances[CHILLER].unchanged;
    assert_eq!(unchanged as usize, all[CHANNEL].len() - got.len());
}
