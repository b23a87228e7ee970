//! Filters: what they hear of other instances, when they do not, and what becomes of what they say.

use std::collections::BTreeMap;
use std::fs;
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value as Json;
use wardgate_lab::accountant::{self, Content, lines_below};
use wardgate_lab::demo::{books, drain_stage};
use wardgate_lab::process::root;
use wardgate_lab::pty::Pty;
use wardgate_lab::stage::{CHILLER, Stage};
use wardgate_lab::ward;

use crate::faults::wait_status;
use crate::reload::reload;
use crate::sandbox::echo_folder;
use crate::supervision::{said, wardgate};
use crate::ward::{Folder, UNRULY, Unruly};

const ECHO: &str = "echo";

/// An instance that listens, with its inputs as lines.
fn listener(name: &str, inputs: &str) -> String {
    let package = echo_folder().display();
    format!("\n[instance.{name}]\npackage = \"{package}\"\ngrants = {{}}\n[instance.{name}.inputs]\n{inputs}\n")
}

/// What a listener said, in order: numbers as they are, and its words.
fn heard(stage: &Stage, name: &str, channel: &str) -> Vec<Json> {
    let mut lines: Vec<Json> = lines_below(&stage.output().join(name)).into_iter().filter(|l| l["channel"] == channel).collect();
    lines.sort_by_key(|l| (l["monotonic_ns"].as_u64(), l["run"].as_u64(), l["index"].as_u64()));
    lines
}

fn numbers(lines: &[Json]) -> Vec<i64> {
    lines.iter().filter_map(|l| l["mantissa"].as_i64()).collect()
}

fn words(stage: &Stage, name: &str) -> Vec<String> {
    heard(stage, name, "words").iter().filter_map(|l| Some(l["text"].as_str()?.to_owned())).collect()
}

fn hears(stage: &Stage, inputs: u64) {
    wait_status(stage, "what the filter hears", |s| s.instances.get(ECHO).is_some_and(|i| i.inputs_heard == inputs && i.inputs > 0));
}

//= PROMISES.md#P120
#[test]
fn a_filter_hears_a_copy_and_the_original_passes_untouched() {
    let folder = Folder::new("filter");
    let mut stage = Stage::new(&folder.0).expect("a stage");
    let line = Unruly::on(&mut stage);
    stage.more += &listener(ECHO, &format!("value = \"{UNRULY}/count\"\nother = \"{CHILLER}/temperature\"\nwave = \"bed-1-monitor/ecg\""));
    // a filter of a filter
    stage.more += &listener("second", &format!("value = \"{ECHO}/heard-0\""));
    stage.start_all(&[]).expect("everything starts");
    let check = said(&wardgate(&stage, &["check"]));
    assert!(check.contains(&format!("hears {UNRULY}/count (value); what it makes of that is marked derived")), "{check}");
    wait_status(&stage, "the line", |s| s.instances.get(UNRULY).is_some_and(|i| i.link_up));
    hears(&stage, 3);
    (0..3).for_each(|_| line.order("count"));
    line.order("missed");
    line.order("alarm of count");
    line.order("alarm"); // of no channel: nobody listens to it
    line.order("count");
    sleep(Duration::from_millis(300));

    // the source fails, and then the filter is restarted by hand
    line.order("keep then panic");
    wait_status(&stage, "the source again", |s| s.instances[UNRULY].opens == 2 && s.instances[UNRULY].link_up);
    hears(&stage, 3);
    line.order("count");
    sleep(Duration::from_millis(300));
    assert!(wardgate(&stage, &["instance", "restart", ECHO]).status.success());
    wait_status(&stage, "the filter again", |s| s.instances[ECHO].opens == 2);
    hears(&stage, 3);
    line.order("count");
    sleep(Duration::from_millis(300));
    // and all of it
    stage.gateway.as_mut().expect("it runs").kill();
    stage.start_gateway().expect("it starts again");
    wait_status(&stage, "the line again", |s| s.instances.get(UNRULY).is_some_and(|i| i.link_up));
    hears(&stage, 3);
    line.order("count");
    wait_status(&stage, "the others after the restart", |s| s.instances.values().all(|i| i.readings > 0));
    stage.switch_off().expect("devices that listen");
    drain_stage(&mut stage).expect("it drains");

    let count = Unruly::counts(&stage);
    let of_count = heard(&stage, ECHO, "heard-0");
    let plain: Vec<i64> = numbers(&of_count).into_iter().filter(|n| *n < 100).collect();
    assert_eq!(plain, count, "what the source's first word at a link-up and its last at `close` are, is heard or told as missed");
    assert!(of_count.iter().all(|l| l["derived"] == true) && heard(&stage, UNRULY, "count").iter().all(|l| l["derived"].is_null()));
    assert_eq!(numbers(&heard(&stage, "second", "heard-0")).iter().filter(|n| **n < 100).count(), plain.len(), "through two filters");
    assert!(heard(&stage, ECHO, "heard-2").iter().all(|l| l["mantissa"].as_i64().is_some_and(|n| n > 0)), "blocks of a waveform");
    let chiller: Vec<i64> = numbers(&heard(&stage, CHILLER, "temperature"));
    let echoed = numbers(&heard(&stage, ECHO, "heard-1"));
    assert!(!echoed.is_empty() && echoed.len() <= chiller.len(), "{} of {}", echoed.len(), chiller.len());

    let said = words(&stage, ECHO);
    let first = said.iter().position(|w| w == "bound 0 count 1").expect("bound");
    assert_eq!(said[first + 1], "missed 0 None Missing::Unknown", "{said:?}");
    for expected in ["missed 0 Some(2) Missing::DeviceOff", "raised 0 8", "unbound 0", "bound 2 ecg"] {
        assert!(said.iter().any(|w| w.starts_with(expected)), "{expected} is not in {said:?}");
    }
    assert!(!said.iter().any(|w| w == "raised 0 7"));
    for (device, account) in books(&stage) {
        assert!(account.adds_up() && account.unexplained == 0, "{device}: {account:?}");
    }
}

/// Also through a filter no value of another device reaches the bed.
//= PROMISES.md#P121
#[test]
fn a_filter_stands_where_its_sources_stand_and_hears_no_device_that_is_not_known() {
    let folder = Folder::new("filter-bed");
    let mut stage = Stage::new(&folder.0).expect("a stage");
    let mut line = Unruly::on(&mut stage);
    let package = format!("[instance.{UNRULY}]\n");
    stage.more = stage.more.replace(&package, &format!("{package}bed = \"bed-9\"\ndevice_serial = \"A1\"\n"));
    stage.more += &listener(ECHO, &format!("value = \"{UNRULY}/count\""));
    stage.start_all(&[]).expect("everything starts");
    wait_status(&stage, "the line", |s| s.instances.get(UNRULY).is_some_and(|i| i.link_up));
    (0..2).for_each(|_| line.order("count")); // 1, 2: nobody knows yet whose they are
    sleep(Duration::from_millis(300));
    line.order("identify A1");
    hears(&stage, 1);
    (0..2).for_each(|_| line.order("count")); // 3, 4
    sleep(Duration::from_millis(300));
    drop(line);
    wait_status(&stage, "the pulled plug", |s| !s.instances[UNRULY].link_up);
    line = Unruly { line: Pty::plug_in(&stage.folder.join("dev").join(UNRULY)).expect("a pty") };
    wait_status(&stage, "the other device", |s| s.instances[UNRULY].link_up);
    hears(&stage, 0);
    line.order("count"); // 5
    line.order("identify B2");
    line.order("count"); // 6
    let shown = said(&wardgate(&stage, &["status"]));
    assert!(shown.contains("hears 0 of its 1 inputs"), "{shown}");
    let refused = wardgate(&stage, &["bind", "set", ECHO, "--bed", "bed-3"]);
    assert!(refused.status.code() == Some(3) && said(&refused).contains(&format!("stands where {UNRULY} stands")), "{}", said(&refused));
    assert!(wardgate(&stage, &["bind", "set", UNRULY, "--bed", "bed-10", "--serial", "B2"]).status.success());
    hears(&stage, 1);
    line.order("count"); // 7
    sleep(Duration::from_millis(300));
    stage.switch_off().expect("the ward is switched off");
    drain_stage(&mut stage).expect("it drains");
    let plain: Vec<i64> = numbers(&heard(&stage, ECHO, "heard-0")).into_iter().filter(|n| *n < 100).collect();
    assert_eq!(plain, [3, 4, 7], "not one value of a device of which it is not known whose it is");
    let records = fs::read_to_string(stage.output().join("records.jsonl")).expect("records");
    let records = records.lines().map(|l| serde_json::from_str::<Json>(l).expect("a line of JSON"));
    let beds: Vec<_> = records.filter(|r| r["record"] == "binding" && r["instance"] == ECHO).map(|r| r["bed"].clone()).collect();
    assert_eq!((beds.first(), beds.last()), (Some(&"bed-9".into()), Some(&"bed-10".into())), "{beds:?}");
}

//= PROMISES.md#P122
#[test]
fn a_filter_that_is_too_slow_loses_what_it_cannot_take_and_its_source_nothing() {
    let folder = Folder::new("filter-slow");
    let mut stage = Stage::new(&folder.0).expect("a stage");
    let line = Unruly::on(&mut stage);
    let slow = listener(ECHO, &format!("value = \"{UNRULY}/count\"")) + &format!("[instance.{ECHO}.settings]\nburn = 2_000_000\n");
    stage.more += &slow;
    stage.start_all(&[]).expect("everything starts");
    wait_status(&stage, "the line", |s| s.instances.get(UNRULY).is_some_and(|i| i.link_up));
    hears(&stage, 1);
    for n in 1..=4 {
        line.order("emit much"); // one at a time: two in one piece would be more than one call may say
        wait_status(&stage, "what it said", |s| s.instances[UNRULY].readings > n * 3000);
    }
    line.order("count");
    wait_status(&stage, "the overrun", |s| s.instances[ECHO].overruns > 0);
    let done = reload(&stage, &stage.configuration().replace("2_000_000", "0"), 0);
    assert!(done.contains("restarted echo"), "{done}");
    hears(&stage, 1);
    line.order("count");
    sleep(Duration::from_millis(500));
    stage.switch_off().expect("devices that listen");
    drain_stage(&mut stage).expect("it drains");
    assert_eq!(numbers(&heard(&stage, UNRULY, "count")).iter().filter(|n| **n >= 1000).count(), 12_000, "the source loses nothing");
    let gaps = accountant::read_gaps(&stage.output());
    assert!(gaps.iter().any(|g| g.instance == ECHO && g.reason == "gateway-overrun"), "{gaps:?}");
    assert!(gaps.iter().all(|g| g.instance != UNRULY), "{gaps:?}");
    assert_eq!(numbers(&heard(&stage, ECHO, "heard-0")).last(), Some(&2), "it hears on");
    for (device, account) in books(&stage) {
        assert!(account.adds_up() && account.missing == 0 && account.unexplained == 0, "{device}: {account:?}");
    }
}

//= PROMISES.md#P123
#[test]
fn what_a_filter_may_not_hear_is_refused_with_the_line() {
    let folder = Folder::new("filter-refused");
    let mut stage = Stage::new(&folder.0).expect("a stage");
    let _line = Unruly::on(&mut stage);
    stage.start_broker().expect("a broker, whose certificate is looked at");
    stage.start_ward(&[]).expect("a bus with a port");
    let others = stage.more.clone();
    let refused = |stage: &mut Stage, more: &str, code, says: &[&str]| {
        stage.more = format!("{others}{more}");
        fs::write(stage.folder.join("gateway.toml"), stage.configuration()).expect("written");
        let check = wardgate(stage, &["check"]);
        assert_eq!(check.status.code(), Some(code), "{}", said(&check));
        for words in says {
            assert!(said(&check).contains(words), "{words} is not in {}", said(&check));
        }
    };
    let to = |from: &str| listener(ECHO, &format!("value = \"{from}\""));
    refused(&mut stage, &to("unruly/count"), 0, &["where they stand whom it hears"]);
    refused(&mut stage, &to("unruly/cuont"), 0, &["WARNING", "hears nothing of it", "it describes \"count\""]);
    let wave = "\"bed-1-monitor/ecg\" is a waveform, and the input \"value\" takes numeric".replace('"', "");
    let shown = |text: &str| text.replace('"', "");
    let heard = to("bed-1-monitor/ecg");
    stage.more = format!("{others}{heard}");
    fs::write(stage.folder.join("gateway.toml"), stage.configuration()).expect("written");
    let check = said(&wardgate(&stage, &["check"]));
    assert!(shown(&check).contains(&wave) && check.contains("hears nothing of it"), "{check}");
    refused(&mut stage, &to("unrly/count"), 3, &["there is no instance \"unrly\"", "write value = \"unruly/count\""]);
    refused(&mut stage, &to("unruly"), 3, &["an input is \"INSTANCE/CHANNEL\""]);
    refused(&mut stage, &listener(ECHO, ""), 3, &["needs \"value\"", "add value = \"INSTANCE/CHANNEL\""]);
    refused(&mut stage, &listener(ECHO, "vlaue = \"unruly/count\""), 3, &["has no such input", "write \"value\""]);
    refused(&mut stage, &to("echo/heard-0"), 3, &["a filter may not hear itself: echo hears echo"]);
    let round = to("b/heard-0") + &listener("b", "value = \"c/heard-0\"") + &listener("c", "value = \"echo/heard-0\"");
    refused(&mut stage, &round, 3, &["a filter may not hear itself", "b hears c hears echo hears b"]);
    let bed = to("unruly/count").replace("grants", "bed = \"bed-1\"\ngrants");
    refused(&mut stage, &bed, 3, &["instance.echo.bed", "stands where they stand", "take bed out"]);
    let deaf = others.replace(
        "[instance.unruly.grants.serial]",
        "[instance.unruly.inputs]\nvalue = \"ct-chiller/temperature\"\n[instance.unruly.grants.serial]",
    );
    stage.more = deaf;
    fs::write(stage.folder.join("gateway.toml"), stage.configuration()).expect("written");
    let check = said(&wardgate(&stage, &["check"]));
    assert!(check.contains("take it out: this plugin is no filter"), "{check}");
}

const WATCH: &str = "chiller-watch";
const WINDOW_NS: u64 = 5_000_000_000;
const HIGH: i64 = 192; // 19.2 Cel: the simulated chiller rises above it 19 s after its start

/// One figure of each window: by the window's number, as the receiver wrote it; `None` where it is absent.
fn figure(stage: &Stage, name: &str) -> BTreeMap<u64, Option<i64>> {
    // a window is told at its end, when the next is a second old at most
    heard(stage, WATCH, name)
        .iter()
        .map(|l| (l["monotonic_ns"].as_u64().expect("a time") / WINDOW_NS - 1, l["mantissa"].as_i64()))
        .collect()
}

/// Each window that was seen wholly, against a reckoning from the chiller's own log.
//= PROMISES.md#P98
#[test]
fn condition_watch_tells_of_a_chiller_what_its_own_log_comes_to() {
    let folder = Folder::new("condition-watch");
    let mut stage = Stage::new(&folder.0).expect("a stage");
    let built = wardgate::plugin::build(&root().join("plugins/condition-watch")).unwrap_or_else(|why| panic!("{why}"));
    stage.more = format!(
        "\n[instance.{WATCH}]\npackage = \"{}\"\ngrants = {{}}\n[instance.{WATCH}.settings]\nwindow_s = 5\nhigh = \"19.2\"\nalert_after_s = 86400\n\
         [instance.{WATCH}.inputs]\nvalue = \"{CHILLER}/temperature\"\nrunning = \"{CHILLER}/run\"\n",
        built.folder.display()
    );
    stage.start_all(&[]).expect("everything starts");
    sleep(Duration::from_secs(23));
    stage.switch_off().expect("devices that listen");
    stage.more.clear(); // a filter speaks at each window's end, with or without its source: the ward would not come to rest
    reload(&stage, &stage.configuration(), 0);
    drain_stage(&mut stage).expect("it drains");

    // what the chiller sent, by its own log, at the moments at which it came
    let temperature = heard(&stage, CHILLER, "temperature");
    let sent = ward::read_sent(&stage.folder, CHILLER);
    let sent: Vec<i64> =
        sent["temperature"].iter().map(|(_, c)| if let Content::Number(n, -1) = c { *n } else { panic!("{c:?}") }).collect();
    assert_eq!(numbers(&temperature), sent);
    let came: Vec<(u64, i64)> = temperature.iter().map(|l| l["monotonic_ns"].as_u64().expect("a time")).zip(sent).collect();

    let [min, max, mean, coverage, duty, starts, count] =
        ["min", "max", "mean", "coverage", "duty", "starts", "high-count"].map(|name| figure(&stage, name));
    let whole: Vec<u64> = coverage.iter().filter(|(_, share)| **share == Some(1000)).map(|(window, _)| *window).collect();
    assert!(whole.len() >= 2, "{coverage:?}");
    for window in whole {
        let (from, to) = (window * WINDOW_NS, (window + 1) * WINDOW_NS);
        let first = came.iter().rposition(|(at, _)| *at <= from).expect("what stood when it began");
        let last = came.iter().rposition(|(at, _)| *at < to).expect("what stood when it ended");
        let seen = &came[first..=last];
        let ends = seen.iter().skip(1).map(|(at, _)| *at).chain([to]);
        let weighted: i128 = seen.iter().zip(ends).map(|((at, n), end)| i128::from(*n * 100) * i128::from(end - at.max(&from))).sum();
        let values = || seen.iter().map(|(_, n)| *n);
        let above = seen.windows(2).filter(|pair| pair[0].1 <= HIGH && pair[1].1 > HIGH).count() as i64;
        let about = format!("window {window}: {seen:?}");
        assert_eq!((min[&window], max[&window]), (values().min(), values().max()), "{about}");
        let told = i128::from(mean[&window].expect("a mean"));
        assert!((told * i128::from(WINDOW_NS) - weighted).abs() * 2 <= i128::from(WINDOW_NS), "{told} of {about}");
        assert_eq!((count[&window], duty[&window], starts[&window]), (Some(above), Some(1000), Some(0)), "{about}");
    }
    assert!(min.iter().any(|(window, least)| *least < max[window]), "a chiller that stands still proves nothing");
    assert!(count.values().flatten().sum::<i64>() > 0, "nor does one that never rises above its limit: {count:?}");
    let all = lines_below(&stage.output().join(WATCH));
    assert!(all.iter().all(|l| l["derived"] == true), "{all:?}");
    assert!(all.iter().all(|l| l.get("alert").is_none()), "no limit was passed for long");
    for (device, account) in books(&stage) {
        assert!(account.adds_up() && account.missing == 0, "{device}: {account:?}");
    }
}
