//! What a UART sees go wrong, through the whole gateway: parity, framing and break as a terminal server of others tells of them (pyserial, RFC 2217). The
//! message that they fall into is lost, in a gap with its reason; all others arrive.

use std::fs;
use std::io::Write;
use std::thread::sleep;
use std::time::Duration;

use wardgate_lab::accountant;
use wardgate_lab::demo::{boottime_ns, drain_stage};
use wardgate_lab::process::root;
use wardgate_lab::sim::serial::ivy450c;
use wardgate_lab::stage::Stage;
use wardgate_lab::ward::read_sent;

use crate::faults::wait_status;
use crate::links::framings::{BREAK, FRAMING, PARITY, Rfc2217};
use crate::ward::Folder;

const NAME: &str = "bed-3-monitor";
const BED: u64 = 3;
const MESSAGES: u64 = 9;

//= PROMISES.md#P130
#[test]
fn parity_framing_and_break_cost_the_message_that_they_fall_into_and_are_told() {
    let folder = Folder::new("line-faults");
    let mut stage = Stage::new(&folder.0).expect("a stage");
    let mut line = Rfc2217::start();
    let package = root().join("plugins/target/packages/ivy450c-0.1.0");
    let at = format!("rfc2217://127.0.0.1:{}", line.port);
    stage.more = format!(
        "\n[instance.{NAME}]\npackage = \"{}\"\n[instance.{NAME}.grants.serial]\nport = \"{at}\"\nframing = \"8O1\"\n",
        package.display()
    );
    stage.start_all(&[]).expect("everything starts");
    wait_status(&stage, "the line", |s| s.instances.get(NAME).is_some_and(|i| i.link_up));
    let mut log = fs::File::create(stage.folder.join(format!("sent/{NAME}.jsonl"))).expect("a log");
    for n in 0..MESSAGES {
        let mut message = ivy450c::message(BED, n);
        let (one, other) = message.bytes.split_at(message.bytes.len() / 2);
        let fault = [(2, PARITY), (4, FRAMING), (6, BREAK)].into_iter().find(|(at, _)| *at == n);
        line.say(one);
        fault.into_iter().for_each(|(_, state)| line.fault(state));
        line.say(other);
        (message.said.n, message.said.monotonic_ns) = (n, boottime_ns());
        writeln!(log, "{}", serde_json::to_string(&message.said).expect("JSON")).expect("written");
        sleep(Duration::from_secs(1));
    }
    stage.switch_off().expect("devices that listen");
    drain_stage(&mut stage).expect("it drains");

    let gaps = crate::ward::lost(&stage.output());
    assert!(gaps.iter().all(|g| g.instance == NAME && g.reason == "line-fault"), "{gaps:#?}");
    let account = accountant::compare(NAME, &read_sent(&stage.folder, NAME), &accountant::read_received(&stage.output(), NAME), &gaps);
    assert!(account.adds_up() && account.unexplained == 0, "{account:#?}");
    let values = ivy450c::message(BED, 0).said.values;
    assert_eq!((account.sent, account.missing), (MESSAGES * values, 3 * values), "three messages, each whole: {account:#?}");
    let status = stage.gateway_status().expect("it runs");
    assert_eq!((status.links[&at].malformed, status.instances[NAME].faults), (3, 0));
    println!("{} values sent, {} missing, each in a gap `line-fault`", account.sent, account.missing);
}
