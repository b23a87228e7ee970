//! A person at a terminal pairs, lists and forgets peripherals, in the three ways that there are and as the site's policy has it; the gateway runs
//! beside, and hears who was paired.

use std::fs;

use serde_json::{Value as Json, json};
use wardgate_lab::sim::ble::PASSKEY;
use wardgate_lab::stage::{bluetooth, unsigned};

use crate::ble_ward::Ward;
use crate::faults::wait_status;
use crate::ward::Folder;

const METER: &str = "F0:00:00:00:21:01";
const OXIMETER: &str = "F0:00:00:00:21:02";
const BELT: &str = "F0:00:00:00:21:03";
/// What is to be heard only when it is bonded.
const BOUND: &str = "bed-1-meter";
/// Whom the exit status blames: what is at the port, or the configuration.
const NOT_PAIRED: i32 = 6;
const NOT_ALLOWED: i32 = 3;

impl Ward {
    fn policy(&self, pairing: &str) {
        let bound = bluetooth(BOUND, &unsigned("ble-glucose"), "ble-glucose", METER, "bed-1").replace("ble = {", "ble = { bonded = true,");
        self.configure(&format!("[ble]\npairing = \"{pairing}\"\nscan_s = 1\nrest_s = 1\n{bound}"));
    }

    /// Who is bonded, by address, and whose it is by gateway.toml.
    fn bonded(&self) -> Vec<(String, Option<String>)> {
        let listed = self.wardgate(&["ble", "list", "--json"]);
        let all: Json = serde_json::from_slice(&listed.stdout).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&listed.stderr)));
        let text = |json: &Json| json.as_str().map(str::to_owned);
        let one = |seen: &Json| (text(&seen["address"]).unwrap(), text(&seen["instance"]));
        all.as_array().unwrap().iter().map(one).collect()
    }

    /// What a person sees who answers one question, or is asked none.
    fn pairs(&self, target: &str, asked: Option<(&str, &str)>) -> (i32, String) {
        let mut terminal = self.at_a_terminal(&["ble", "pair", target]);
        if let Some((question, answer)) = asked {
            terminal.until(question);
            terminal.types(answer);
        }
        terminal.ends()
    }
}

//= PROMISES.md#P201
#[test]
fn a_person_at_a_terminal_pairs_in_each_way_that_the_site_allows_and_in_no_other() {
    let folder = Folder::new("ble-person");
    let devices = [format!("meter=6:meter:{METER}"), format!("oximeter:oximeter:{OXIMETER}"), format!("belt:belt:{BELT}")];
    let mut ward = Ward::new(&folder, &devices);
    let asks_passkey = "Passkey shown by meter (6 digits): ";
    let asks_number = format!("Does oximeter show {PASSKEY:06}? [yes/no] ");
    ward.policy("none");
    ward.start_gateway();
    let link = format!("ble {BOUND}");
    let not_bonded =
        |s: &wardgate::status::Snapshot| s.links.get(&link).is_some_and(|l| l.last_error.contains(&format!("wardgate ble pair {METER}")));
    wait_status(&ward.stage, "that it is not bonded", not_bonded);

    // nobody may
    let (code, seen) = ward.pairs("meter", None);
    assert!(code == NOT_ALLOWED && seen.contains("nobody may pair") && seen.contains("pairing = \"compare\""), "{code}: {seen}");

    // six digits are typed, and nothing less is enough
    ward.policy("passkey");
    // who mistypes an instance is told, and is not sent to look for a device of that name alone
    let (code, seen) = ward.at_a_terminal(&["ble", "forget", "bed-1-metre"]).ends();
    assert!(code == NOT_PAIRED && seen.contains("was \"bed-1-meter\" meant?"), "{code}: {seen}");
    for (name, by) in [("oximeter", "compare"), ("belt", "just-works")] {
        let (code, seen) = ward.pairs(name, None);
        assert!(code == NOT_ALLOWED && seen.contains(&format!("paired by {by}")), "{code}: {seen}");
        assert!(
            !seen.contains("[yes/no]") && seen.contains(&format!("pairing = \"{by}\"")),
            "nobody is asked for what does not count: {seen}"
        );
    }
    let (_, seen) = ward.pairs("belt", None);
    assert!(seen.contains("the peripheral keeps its half of the bond") && seen.contains("let the peripheral forget"), "{seen}");
    assert_eq!(ward.bonded(), []);
    let (code, seen) = ward.pairs(BOUND, Some((asks_passkey, "111111")));
    assert!(code == NOT_PAIRED && seen.contains("was not paired: the digits were not the right ones"), "{code}: {seen}");
    assert!(seen.contains("type the digits that it shows then") && !seen.contains("org.bluez"), "{seen}");
    // who types something else is asked again
    let (code, seen) = ward.pairs(BOUND, Some((asks_passkey, "no digits\n12345\n1234567")));
    assert_eq!((seen.matches(asks_passkey).count(), seen.matches("that is not six digits").count()), (3, 3), "{seen}");
    assert!(code == NOT_PAIRED && seen.contains("no six digits were typed") && !seen.contains("org.bluez"), "{code}: {seen}");
    assert_eq!((ward.bonded().len(), ward.said("meter").len()), (0, 0), "and nothing was said to it");
    let (code, seen) = ward.pairs(BOUND, Some((asks_passkey, &format!("12 34\n{PASSKEY:06}"))));
    assert!(code == 0 && seen.contains(&format!("paired with {METER} (meter): passkey")), "{code}: {seen}");
    ward.hears(BOUND, "sequence", |came| came.len() == 6);

    let (code, seen) = ward.pairs(BOUND, None);
    assert!(code == 0 && seen.contains(&format!("{METER} (meter) is paired already, by passkey")), "{code}: {seen}");

    // two numbers are compared
    ward.policy("compare");
    let (code, seen) = ward.pairs("oximeter", Some((&asks_number, "no")));
    assert!(code == NOT_PAIRED && seen.contains("was not paired: you said no") && !seen.contains("org.bluez"), "{code}: {seen}");
    ward.order("vanish oximeter");
    let (code, seen) = ward.pairs("oximeter", None);
    assert!(code == NOT_PAIRED && seen.contains("it is out of reach, or switched off") && seen.contains("switch it on"), "{code}: {seen}");
    assert!(!seen.contains("org.bluez") && !seen.contains("le-connection"), "{seen}");
    ward.order("return oximeter");
    let (code, seen) = ward.pairs("oximeter", Some((&asks_number, "yes")));
    assert!(code == 0 && seen.contains(&format!("paired with {OXIMETER} (oximeter): compare")), "{code}: {seen}");
    assert!(seen.contains("no instance of gateway.toml names it") && seen.contains(&format!("address = \"{OXIMETER}\"")), "{seen}");
    assert_eq!(ward.pairs("belt", None).0, NOT_ALLOWED);

    // being there is enough
    ward.policy("just-works");
    let (code, seen) = ward.pairs(BELT, None);
    assert!(code == 0 && seen.contains(&format!("paired with {BELT} (belt): just works")), "{code}: {seen}");
    let whose = |address: &str, owner: Option<&str>| (address.to_owned(), owner.map(str::to_owned));
    let mut bonded = ward.bonded();
    bonded.sort();
    assert_eq!(bonded, [whose(METER, Some(BOUND)), whose(OXIMETER, None), whose(BELT, None)]);

    // for people: who is near, what is bonded, and what is to be forgotten
    for verb in ["scan", "list"] {
        let words: &[&str] = if verb == "scan" { &["ble", "scan", "--for", "1"] } else { &["ble", "list"] };
        let (code, seen) = ward.at_a_terminal(words).ends();
        let rows: Vec<_> = seen.lines().filter(|l| l.contains("F0:00:00:00:21")).collect();
        assert!(code == 0 && rows.len() == 3, "{verb} {code}: {seen}");
        assert!(rows.iter().any(|r| r.contains(METER) && r.contains("passkey") && r.contains(BOUND)), "{seen}");
    }
    for (target, address) in [("oximeter", OXIMETER), (BOUND, METER), (BELT, BELT)] {
        let (code, seen) = ward.at_a_terminal(&["ble", "forget", target]).ends();
        assert!(code == 0 && seen.contains(&format!("forgot {address}")), "{code}: {seen}");
    }
    let (code, seen) = ward.at_a_terminal(&["ble", "forget", BELT]).ends();
    assert!(code == NOT_PAIRED && !seen.contains("forgot "), "{code}: {seen}");
    let (code, seen) = ward.at_a_terminal(&["ble", "list"]).ends();
    assert!(code == 0 && seen.contains("nothing is bonded"), "{code}: {seen}");
    wait_status(&ward.stage, "that it is not bonded any more", not_bonded);
    ward.stop();
}

/// Where a site grants less than a package asks for, or more, `wardgate check` says so in a line each, and what is done without; `wardgate grant list`
/// says of what is granted beyond it that it has no effect.
//= PROMISES.md#P293
//= PROMISES.md#P326
#[test]
fn a_check_says_what_a_peripherals_grant_lacks_and_what_is_done_without() {
    let folder = Folder::new("ble-held");
    let ward = Ward::new(&folder, &[format!("meter=1:meter:{METER}")]);
    let whole = bluetooth(BOUND, &unsigned("ble-glucose"), "ble-glucose", METER, "bed-1");
    let warned = |grant: &str| -> Vec<String> {
        ward.configure(grant);
        let checked = ward.wardgate(&["check"]);
        let said = String::from_utf8_lossy(&checked.stdout).into_owned();
        assert!(checked.status.success(), "{said}\n{}", String::from_utf8_lossy(&checked.stderr));
        said.lines().filter(|l| l.contains("WARNING") && l.contains("ble-glucose-0.1.0 asks for")).map(str::to_owned).collect()
    };
    assert_eq!(warned(&whole), [""; 0]);
    let other = warned(&whole.replace("\"04 01\"", "\"02 01\"").replace(", \"180f\"", ""));
    assert!(
        matches!(&other[..], [less, more]
        if less.contains("granted less than ble-glucose-0.1.0 asks for")
            && less.contains("not to write 04 01 to 2a52 (without that records are not counted")
            && less.contains("not the service 180f, Battery (without that its battery is not told)")
            && more.contains("granted more than ble-glucose-0.1.0 asks for: to write 02 01 to 2a52. The smaller of both counts")),
        "{other:#?}"
    );
    let listed = ward.wardgate(&["grant", "list"]);
    let listed = String::from_utf8_lossy(&listed.stdout);
    assert!(
        listed.contains("    ble writes 2a52 02 01\n")
            && listed.contains("    granted beyond what its package asks for, where the smaller counts: to write 02 01 to 2a52\n")
            && listed.contains("    in effect of the Bluetooth peripheral ")
            && listed.lines().any(|line| line.contains("MAY WRITE") && !line.contains("02 01")),
        "{listed}"
    );
}

/// Of two adapters that hear the same peripherals, the one that the gateway uses counts.
//= PROMISES.md#P263
#[test]
fn with_two_adapters_a_peripheral_is_one_and_a_bond_is_of_its_own_adapter() {
    const STRAP: &str = "F0:00:00:00:22:01";
    let folder = Folder::new("ble-dongle");
    let mut ward = Ward::new(&folder, &[format!("belt:strap:{STRAP}")]);
    ward.order("dongle in");
    ward.policy("just-works");
    let rows = |ward: &Ward, words: &[&str]| {
        let (code, seen) = ward.at_a_terminal(words).ends();
        assert_eq!(code, 0, "{seen}");
        seen.lines().filter(|l| l.contains(STRAP)).count()
    };
    assert_eq!(rows(&ward, &["ble", "scan", "--for", "1"]), 1, "it is heard by both, and one");
    let (code, seen) = ward.pairs(STRAP, None);
    assert!(code == 0 && seen.contains(&format!("paired with {STRAP} (strap)")), "{code}: {seen}");
    assert_eq!(rows(&ward, &["ble", "list"]), 1);
    let here = fs::read_to_string(ward.stage.folder.join("gateway.toml")).unwrap();
    fs::write(ward.stage.folder.join("gateway.toml"), here.replace("[ble]\n", "[ble]\nadapter = \"hci1\"\n")).unwrap();
    assert_eq!(rows(&ward, &["ble", "list"]), 0, "that bond is not of this adapter");
    // another program bonds it with this one too: how the first bond was made says nothing of that
    ward.order("dongle bonded");
    let (_, seen) = ward.at_a_terminal(&["ble", "list"]).ends();
    assert!(seen.lines().any(|l| l.contains(STRAP) && l.contains("by others")), "{seen}");
    let bound =
        bluetooth(BOUND, &unsigned("ble-heart-rate"), "ble-heart-rate", STRAP, "bed-1").replace("ble = {", "ble = { bonded = true,");
    let link = format!("ble {BOUND}");
    for (adapter, is_up, error) in [("hci1", false, "not by `wardgate ble pair` with this adapter"), ("hci0", true, "")] {
        ward.configure(&format!("[ble]\nadapter = \"{adapter}\"\npairing = \"just-works\"\nscan_s = 1\nrest_s = 1\n{bound}"));
        ward.start_gateway();
        let stands = |l: &wardgate::status::LinkStatus| l.up == is_up && l.last_error.contains(error);
        wait_status(&ward.stage, adapter, |s| s.links.get(&link).is_some_and(stands));
        assert!(ward.stage.gateway.as_mut().unwrap().stop().unwrap().success());
    }
    fs::write(ward.stage.folder.join("gateway.toml"), here).unwrap();
    let (code, seen) = ward.at_a_terminal(&["ble", "forget", STRAP]).ends();
    assert!(code == 0 && seen.contains(&format!("forgot {STRAP}")), "{code}: {seen}");
}

/// How a bond was made is said of that bond alone: nothing is left of one that BlueZ has no more, and what an older gateway wrote down stays with the
/// one adapter that has a bond.
//= PROMISES.md#P341
#[test]
fn who_pairs_anew_takes_nothing_over_and_takes_nothing_from_another_adapter() {
    const STRAP: &str = "F0:00:00:00:22:01";
    const HERE: &str = "02:00:00:00:00:01";
    const DONGLE: &str = "02:00:00:00:00:02";
    let folder = Folder::new("ble-anew");
    let mut ward = Ward::new(&folder, &[format!("belt:strap:{STRAP}"), format!("meter=1:meter:{METER}")]);
    ward.policy("just-works");
    let file = ward.stage.folder.join("state/bonds.json");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    let known = || -> Json { serde_json::from_slice(&fs::read(&file).unwrap()).unwrap() };

    fs::write(&file, json!({ HERE: { METER: "passkey" } }).to_string()).unwrap(); // somebody has made BlueZ forget that one
    let wrong = format!("{:06}", (PASSKEY + 1) % 1_000_000);
    let (code, seen) = ward.pairs(METER, Some(("Passkey shown by meter (6 digits): ", &wrong)));
    assert_eq!(code, NOT_PAIRED, "{seen}");
    assert_eq!(known()[HERE].get(METER), None, "a bond that another program makes now would be taken for that one");

    ward.order("dongle bonded");
    fs::write(&file, json!({ STRAP: "compare" }).to_string()).unwrap(); // as older gateways did
    let (code, seen) = ward.pairs(STRAP, None);
    assert_eq!(code, 0, "{seen}");
    assert_eq!(known(), json!({ HERE: { STRAP: "just-works" }, DONGLE: { STRAP: "compare" } }));
}

async fn powered(bus: &str) -> bool {
    let bus = zbus::connection::Builder::address(bus).build().await.unwrap();
    let adapter = zbus::Proxy::new(&bus, "org.bluez", "/org/bluez/hci0", "org.bluez.Adapter1").await.unwrap();
    adapter.get_property("Powered").await.unwrap()
}

//= PROMISES.md#P335
#[test]
fn a_list_switches_nothing_on_and_nobody_is_asked_where_no_terminal_is() {
    let folder = Folder::new("ble-asks-nobody");
    let ward = Ward::new(&folder, &[format!("meter=1:meter:{METER}")]);
    ward.policy("passkey");
    let is_powered = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(powered(&ward.bus()));
    assert_eq!((ward.bonded(), is_powered()), (Vec::new(), false));
    let paired = ward.wardgate(&["ble", "pair", METER]); // its standard input is empty
    let words = String::from_utf8_lossy(&paired.stderr).into_owned();
    assert!(words.contains("was not paired: nobody is here to be asked") && words.contains("pair it at a terminal"), "{words}");
    assert!(is_powered() && ward.bonded().is_empty());
}
