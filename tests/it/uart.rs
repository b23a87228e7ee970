//! A serial device on a UART with a kernel driver of its own, in the guest of `ble`: every byte arrives as it was sent, also those that the kernel uses for
//! its marks, and a break costs the message that it falls into. A pty can show neither.

use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value as Json;
use wardgate_lab::accountant::{self, Content, lines_below};
use wardgate_lab::guest::{Guest, UART_PORT};
use wardgate_lab::sim::serial::ivy450c;

use crate::ble::{RUN, Rig, compiled_there, rig, status};
use crate::ward::wait_to_see;

const PLUGIN: &str = "ivy450c";
const NAME: &str = "bed-9-monitor";
const BED: u64 = 9;
const MESSAGES: u64 = 5;
const BROKEN: u64 = 2;
/// Between the messages: what the kernel's marks are made of (FF FF is one FF, FF 00 x a wrong byte, FF 00 00 a break), here as plain bytes.
const LIKE_MARKS: &[u8] = &[0xFF, 0, 0, 0xFF, 0xFF, 0, 0x41, 0xFF, 0, 0xFF];

fn message(n: u64) -> Vec<u8> {
    ivy450c::message(BED, n).bytes
}

/// All messages, one a second, with a break in the middle of one. A UART that nobody has opened takes nothing.
fn speaks(guest: &mut Guest) {
    let up = |status: &Json| status["instances"][NAME]["link_up"] == true;
    wait_to_see("the gateway to open the UART", || status(guest), up);
    for n in 0..MESSAGES {
        let message = message(n);
        let (one, other) = message.split_at(message.len() / 2);
        guest.uart_says(one).unwrap();
        if n == BROKEN {
            guest.uart_breaks().unwrap();
        }
        guest.uart_says(&[other, LIKE_MARKS].concat()).unwrap();
        sleep(Duration::from_secs(1)); // a monitor's pace: what is missing is counted by the time that passed
    }
}

//= PROMISES.md#P206
#[test]
fn a_break_on_a_uart_costs_its_message_and_bytes_like_the_kernels_marks_cost_nothing() {
    let instance = format!(
        "\n[instance.{NAME}]\npackage = \"/mnt/packages/{PLUGIN}-0.1.0\"\n[instance.{NAME}.grants]\nkeep_raw = true\n\
         [instance.{NAME}.grants.serial]\nport = \"{UART_PORT}\"\nbaud = 9600\n"
    );
    // the guest's Bluetooth chip and its peripherals are there, and nobody speaks with them
    let Rig { mut guest, stage, share, peripherals: _peripherals, folder: _folder } = rig("uart", &[PLUGIN], &instance);
    guest.well(RUN).unwrap();
    let answers = |guest: &mut Guest| guest.run("wardgate status --config /mnt/gateway.toml").unwrap();
    wait_to_see("the gateway to answer", || answers(&mut guest), |(_, code)| *code == 0);
    speaks(&mut guest);
    let came = || accountant::read_received(&stage.output(), NAME).get("ecg").map_or(0, Vec::len) as u64;
    let log = || fs::read_to_string(share.join("gateway.log")).unwrap_or_default();
    wait_to_see("every message but the broken one", || (came(), log()), |(came, _)| *came >= MESSAGES - 1);
    assert_eq!(compiled_there(&log(), 1), [""; 0], "the cache of beside it was not taken");
    is_whole_but_for_the_break(&stage.output(), &status(&mut guest));
}

fn is_whole_but_for_the_break(output: &Path, status: &Json) {
    let whole = (0..MESSAGES).filter(|n| *n != BROKEN);
    let sent: Vec<Vec<i64>> = whole.map(|n| ivy450c::message(BED, n).said.waves["ecg"].iter().map(|s| i64::from(*s)).collect()).collect();
    let received = accountant::read_received(output, NAME);
    let came: Vec<Vec<i64>> =
        received["ecg"].iter().filter_map(|(_, content)| if let Content::Samples(s) = content { Some(s.clone()) } else { None }).collect();
    assert_eq!(came, sent, "the messages without a break, each whole");
    let gaps = accountant::read_gaps(output);
    let of_it: Vec<_> = gaps.iter().filter(|g| g.instance == NAME && g.channel == "ecg").collect();
    assert!(matches!(of_it[..], [gap] if gap.reason == "line-fault"), "{gaps:#?}");
    let link = &status["links"][UART_PORT];
    assert_eq!(link["malformed"], 1, "one break, and no byte that only looks like a mark: {link}");

    let mut raw = lines_below(&output.join(NAME).join("raw"));
    raw.sort_by_key(|l| l["monotonic_ns"].as_u64());
    let kept: String = raw.iter().map(|l| l["raw"].as_str().expect("hex")).collect();
    let bytes = (0..MESSAGES).flat_map(|n| [message(n), LIKE_MARKS.to_vec()].concat());
    assert_eq!(kept, bytes.map(|b| format!("{b:02x}")).collect::<String>(), "byte for byte, as it was sent");
    println!("uart: {MESSAGES} messages, 1 lost by a break, {} bytes as they were sent", kept.len() / 2);
}
