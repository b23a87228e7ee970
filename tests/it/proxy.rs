//! The fault proxy on a monitor's serial line, before the whole gateway: what it takes away lies in gaps, and nobody else knows of it.

use std::thread::sleep;
use std::time::Duration;

use wardgate_lab::accountant;
use wardgate_lab::demo::{books, drain_stage};
use wardgate_lab::stage::{MONITORS, Stage};
use wardgate_lab::ward::read_sent;

use crate::links::proxy::proxy;
use crate::ward::Folder;

const FAULTY_S: u64 = 20;
const SEED: &str = "252"; // each of the faults befalls one message at least, and none the first: a stream that was never heard has no gaps

//= PROMISES.md#P139
#[test]
fn what_the_proxy_takes_from_a_monitor_lies_in_gaps_and_the_others_lose_nothing() {
    let folder = Folder::new("proxy");
    let mut stage = Stage::new(&folder.0).expect("a stage");
    let name = MONITORS[0].0;
    let (device, port) = (folder.0.join("dev").join(name), folder.0.join("dev/faulty"));
    let (device, port) = (device.to_str().expect("text"), port.to_str().expect("text"));
    stage.instead.push((format!("port = {device:?}"), format!("port = {port:?}")));
    stage.start_broker().expect("the broker");
    stage.start_ward(&[]).expect("the devices");
    // not `lost`: one message that vanishes without a trace cannot be told from one that is late (plugins/ivy450c/README.md)
    let faults = ["partial", "stray", "joined", "slow", "hang", "unplug"].map(|name| format!("--fault={name}=7%"));
    let mut words = vec!["--gateway", port, "--device", device, "--frames", "end=FE", "--seed", SEED];
    words.extend(faults.iter().map(String::as_str));
    let (mut proxy, _) = proxy(&words, &folder.0.join("log/proxy.log"));
    stage.start_receiver().expect("the receiver");
    stage.start_gateway().expect("the gateway");
    stage.ward.as_mut().expect("started above").tell("on").expect("devices that listen");
    sleep(Duration::from_secs(FAULTY_S));
    stage.switch_off().expect("devices that listen");
    drain_stage(&mut stage).expect("it drains");
    proxy.stop().expect("it ends");

    let told = proxy.lines();
    let gaps = crate::ward::lost(&stage.output());
    assert!(gaps.iter().all(|g| g.instance == name), "another device has a gap: {gaps:#?}");
    let (mut sent, got) = (read_sent(&stage.folder, name), accountant::read_received(&stage.output(), name));
    // the end of a gap is known with the next good message: what was sent after the last one is not judged
    let last = got["ecg"].last().expect("it was heard").0;
    sent.values_mut().for_each(|track| track.retain(|(at, _)| *at <= last));
    let faulty = accountant::compare(name, &sent, &got, &gaps);
    let others = books(&stage).into_iter().filter(|(device, _)| device != name);
    for (device, account) in others.chain([(name.to_owned(), faulty)]) {
        assert!(account.adds_up() && account.sent > 0, "{device}: {account:#?}\n{told:#?}\n{gaps:#?}");
        assert!((device == name) == (account.missing > 0), "{device}: {account:#?}\n{told:#?}");
        println!("{device}: sent {} received {} missing {}", account.sent, account.received, account.missing);
    }
    assert!(told.len() >= 3, "a run in which nothing happens proves nothing: {told:#?}");
    println!("faults from seed {SEED}: {}", told.join(" "));
}
