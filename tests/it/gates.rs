//! What a package is known by once it was seen, and that each gate asks the same of it: a release is one package, for accept, reload, start, check and inspect.

mod changes;
mod judges;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;
use wardgate::plugin::{DeviceKey, Memory};
use wardgate_lab::process::{READY_S_MAX, binary};
use wardgate_lab::stage::{CHILLER, Stage};

use crate::faults::wait_status;
use crate::gatekeeper::{Desk, FAR, PAST, another, audit, fleet, put_fleet, said, same, stolen, ward};
use crate::supervision::wardgate;
use crate::tamper::{key, tiny_into};
use crate::trust::site::{LATER, Site};
use crate::ward::Folder;

/// A package of modbus-map in a folder of its own, so that two of them may have one name.
fn in_folder(at: &Path, name: &str, version: &str, release: u64, change: impl Fn(String) -> String) -> PathBuf {
    let folder = at.join(name);
    fs::create_dir_all(&folder).expect("a folder");
    another(&folder, version, release, &key(1), change)
}

fn wider(text: String) -> String {
    text.replace("memory_mib = 4", "memory_mib = 8").replace("numeric = 256", "numeric = 300")
}

fn digest(package: &Path) -> String {
    wardgate::plugin::sealed(package).expect("a package").digest()
}

/// As a gateway left it that knew no digests.
fn forget_digests(state: &Path) {
    let memory = Memory::of(state, DeviceKey::open(state, [0; 32]).expect("a key"));
    let bytes = fs::read(memory.path()).expect("it remembers");
    let mut body: serde_json::Value = serde_json::from_slice(bytes.split(|b| *b == b'\n').next().expect("a line")).expect("JSON");
    let all = body.as_object_mut().expect("an object");
    assert!(all.remove("digests").is_some());
    for ran in all["ran"].as_object_mut().expect("an object").values_mut() {
        ran.as_object_mut().expect("an object").remove("digest");
    }
    fs::write(memory.path(), memory.sealed(body.to_string().as_bytes())).expect("written");
}

//= PROMISES.md#P250
#[test]
fn a_release_is_one_package_and_only_the_sites_key_lets_another_take_its_place() {
    let folder = Folder::new("gates-accept");
    let desk = Desk::new(&folder);
    let text = |path: &Path| path.display().to_string();
    let first = in_folder(&desk.at, "first", "0.1.1", 1, same);
    let second = in_folder(&desk.at, "second", "0.1.1", 1, wider);
    let renamed = in_folder(&desk.at, "renamed", "0.1.2", 1, same);
    desk.well(&["plugin", "accept", &text(&first)]);
    let installed = desk.at.join("packages/modbus-map-0.1.1.wardgate");
    let refused = |package: &Path| {
        let why = desk.badly(&["plugin", "accept", &text(package)], 4);
        assert!(why.contains("release 1 was seen here as another package"), "{why}");
        for digest in [digest(package), digest(&first)] {
            assert!(why.contains(&digest), "{digest}: {why}");
        }
        assert!(why.contains("count `release` up") && why.contains("allow-other --key site.key wardgate modbus-map 1"), "{why}");
        assert_eq!(fs::read(&installed).expect("there"), fs::read(&first).expect("there"));
    };
    refused(&second);
    refused(&renamed); // whatever its version is called
    // a second signature makes no other package of it
    let mut signed = wardgate::plugin::sealed(&first).expect("a package");
    signed.sign(&key(2)).expect("room for two");
    let again = desk.at.join("again/modbus-map-0.1.1.wardgate");
    fs::create_dir_all(desk.at.join("again")).expect("a folder");
    fs::write(&again, signed.write()).expect("written");
    desk.well(&["plugin", "accept", &text(&again)]);
    desk.well(&["plugin", "accept", &text(&first)]);
    // an older gateway remembered no digest: the package that lies here says which it was
    forget_digests(&desk.at.join("state"));
    refused(&second);

    // the site's key lets in exactly that one, and then the one before it is the other
    let made = Command::new(binary("wardgate").expect("built")).args(["plugin", "keygen", "site"]).current_dir(&desk.at).output();
    assert!(made.expect("it runs").status.success());
    desk.site("site_key = \"site.pub\"\n");
    desk.sign("site.key");
    let (old, new) = (digest(&first), digest(&second));
    let allow = |digest: &str| ["plugin", "allow-other", "--key", "site.key", "wardgate", "modbus-map", "1", digest].map(str::to_owned);
    let words = |list: [String; 8]| desk.well(&list.each_ref().map(String::as_str));
    assert!(desk.badly(&["plugin", "allow-other", "--key", "site.key", "wardgate", "modbus-map", "1", "x"], 4).contains("is no digest"));
    words(allow(&new));
    desk.well(&["plugin", "accept", &text(&second)]);
    let why = desk.badly(&["plugin", "accept", &text(&first)], 4);
    assert!(why.contains(&format!("has the digest {old}, and that one had {new}")), "{why}");
    desk.badly(&["plugin", "accept", &text(&renamed)], 4);
    let told = desk.well(&["audit", "show", "--json"]);
    let of = |what: &str, digest: &str| {
        told.lines().filter(|l| l.contains(&format!("\"what\":\"{what}\"")) && l.contains(&format!("\"digest\":\"{digest}\""))).count()
    };
    assert_eq!((of("install", &old), of("install", &new), of("break-glass", &new)), (3, 1, 2), "{told}");
    assert!(told.contains("another package of the same release, by the site's override"), "{told}");
}

fn stop(stage: &mut Stage) {
    assert!(stage.gateway.as_mut().expect("started").stop().expect("it ends").success());
}

//= PROMISES.md#P251
#[test]
fn a_wider_package_of_the_release_that_runs_comes_in_by_no_reload_and_no_restart() {
    let folder = Folder::new("gates-reload");
    fs::create_dir_all(&folder.0).expect("a folder");
    let runs = another(&folder.0, "0.1.1", 1, &key(1), same);
    let wide = in_folder(&folder.0, "wide", "0.1.1", 1, wider);
    let (good, bad) = (digest(&runs), digest(&wide));
    let mut stage = ward(&folder, &runs, "");
    stage.start_all(&[]).expect("everything starts");
    wait_status(&stage, "the chiller", |s| s.instances[CHILLER].readings > 0 && !s.instances[CHILLER].grants_hash.is_empty());
    // in the place of the file that runs
    let first = fs::read(&runs).expect("there");
    fs::copy(&wide, &runs).expect("copied");
    let refused = crate::reload::reload(&stage, &stage.configuration(), 4);
    assert!(refused.contains(&format!("has the digest {bad}, and that one had {good}")), "{refused}");
    stop(&mut stage);
    stage.start_gateway().expect("the others start");
    let status = stage.gateway_status().expect("it runs");
    assert!(status.instances[CHILLER].state == "withheld" && status.instances[CHILLER].detail.contains(&bad), "{status:#?}");
    // a memory of an older gateway does not say which package it was: what is newly reached is to be approved all the same
    stop(&mut stage);
    forget_digests(&folder.0.join("state"));
    stage.start_gateway().expect("the others start");
    let status = stage.gateway_status().expect("it runs");
    assert!(status.instances[CHILLER].detail.contains("asks for more than was approved for this instance"), "{status:#?}");
    // and the first that starts fills it in
    fs::write(&runs, &first).expect("written");
    assert!(crate::reload::reload(&stage, &stage.configuration(), 0).contains("added ct-chiller"));
    fs::copy(&wide, &runs).expect("copied");
    assert!(crate::reload::reload(&stage, &stage.configuration(), 4).contains("was seen here as another package"));
    let told = audit(&stage, &["show", "--json"]);
    assert!(told.contains(&format!("\"digest\":\"{good}\"")) && told.contains("was seen here as another package"), "{told}");
    assert!(said(&wardgate(&stage, &["audit", "verify"])).contains("is whole"));
}

/// What an instance of modbus-map needs, with this package.
fn chiller(package: &Path) -> String {
    format!(
        "[bus.plant]\ntcp = \"192.0.2.20:502\"\n[instance.chiller]\npackage = {:?}\nsettings = {{ map = {{ shipped = \"smc-hrs\" }} }}\n\
         [instance.chiller.grants.modbus]\nbus = \"plant\"\nservers = [1]\nallow = [{{ function = 3, addresses = [\"0..11\"] }}]\n",
        package.display().to_string()
    )
}

/// Every file below a folder, with what is in it.
fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            all.extend(contents(&path));
        } else {
            all.push((path.clone(), fs::read(&path).expect("readable")));
        }
    }
    all.sort();
    all
}

//= PROMISES.md#P253
#[test]
fn check_and_inspect_judge_as_the_start_does_and_write_nothing() {
    let folder = Folder::new("gates-check");
    let desk = Desk::new(&folder);
    let package = |name: &str, version: &str, release, change: fn(String) -> String| in_folder(&desk.at, name, version, release, change);
    let (one, two, three) = (package("one", "0.1.1", 1, same), package("two", "0.1.2", 2, same), package("three", "0.1.3", 3, same));
    let (other, wide) = (package("other", "0.1.2", 2, wider), package("wide", "0.1.4", 4, wider));
    let state = desk.at.join("state");
    let fresh = |version| desk.fleet(&fleet(version, FAR, json!([]), json!([])));
    let well = |package: &Path| {
        desk.site(&chiller(package));
        let shown = desk.well(&["plugin", "inspect", &package.display().to_string()]);
        assert!(shown.contains("would run on this gateway"), "{shown}");
        desk.well(&["check"]);
    };
    // both say why not, in the words of the start, and change nothing
    let badly = |package: &Path, words: &str| {
        desk.site(&chiller(package));
        let before = contents(&state);
        let shown = desk.well(&["plugin", "inspect", &package.display().to_string()]);
        assert!(shown.contains("would NOT run") && shown.contains(words) && shown.contains("what to do: "), "{words}: {shown}");
        let checked = desk.badly(&["check"], 4);
        assert!(checked.contains(words), "{words}: {checked}");
        assert_eq!(contents(&state), before, "nothing is written");
    };
    fresh(1);
    well(&one);
    assert!(!state.exists(), "nothing is written, and nothing need be there");
    desk.site("");
    desk.well(&["plugin", "accept", &two.display().to_string()]);
    well(&two);
    badly(&one, "release 1 is older than release 2");
    badly(&other, "release 2 was seen here as another package");
    desk.fleet(&fleet(2, PAST, json!([]), json!([])));
    badly(&three, "release 3 is new here, and nothing new is taken while the fleet's metadata is not fresh");
    well(&two);
    desk.fleet(&fleet(3, FAR, json!([]), json!([{"vendor": "wardgate", "name": "modbus-map", "release": 3, "reason": "it leaks"}])));
    badly(&three, "wardgate's modbus-map release 3 was revoked: it leaks");
    desk.fleet(&fleet(4, FAR, stolen(1), json!([])));
    badly(&two, "was revoked on 2026-11-01T00:00:00Z: a laptop was stolen");
    // reaching more than was approved for an instance; and a gateway that is blind
    fresh(5);
    desk.site(&chiller(&two));
    desk.well(&["grant", "approve", &two.display().to_string(), "--instance", "chiller"]);
    badly(&wide, "asks for more than was approved for this instance (release 2)");
    assert!(desk.well(&["plugin", "inspect", &wide.display().to_string()]).contains("would NOT run as chiller: release 4 asks for more"));
    fs::write(state.join("trust.memory"), "{}\n\n").expect("written");
    badly(&two, "is not known to have run here");
}

/// A gateway that goes by the first state of this site's fleet, and runs nothing yet.
fn beside_its_fleet(site: &Site) -> Desk {
    site.update().expect("the first state");
    let desk = Desk { at: site.path("") };
    desk.site("");
    let config = fs::read_to_string(site.path("gateway.toml")).expect("written");
    fs::write(site.path("gateway.toml"), config.replace("folder = \"trust\"", "folder = \"gw\"")).expect("written");
    desk
}

//= PROMISES.md#P254
#[test]
fn install_asks_the_folder_that_the_configuration_names_and_accept_asks_the_fleets_lists() {
    let site = Site::new("gates-install");
    let desk = beside_its_fleet(&site);
    let (named, strange) = ("packages/acme/t-1.0.0.wardgate", tiny_into(&site.path("stick"), "acme", "2.0.0", 2, 1));
    let install = |package: &str| ["plugin", "install", package, "--config", "gateway.toml"].map(str::to_owned);
    // no --trust: what the fleet's metadata in that folder does not name is refused before the gateway is asked, which writes that down
    let strange = strange.display().to_string();
    assert!(site.badly_of(4, &install(&strange)).contains("the fleet's lists name no acme/t-2.0.0.wardgate"));
    for in_a_registry in [install("oci://registry.example/acme/t:1.0.0"), install("acme/t-1.0.0")] {
        let words = [&in_a_registry[..], &["--from", "oci://registry.example/acme/t:1.0.0"].map(str::to_owned)].concat();
        assert!(site.badly_of(3, &words).contains("get it first: `wardgate plugin pull oci://registry.example/acme/t:1.0.0`"));
    }
    assert!(!site.path("packages/t-2.0.0.wardgate").exists());
    let told = desk.well(&["audit", "show", "--json"]);
    assert!(told.lines().count() == 1 && told.contains("\"what\":\"refuse\""), "a slip of the words is no refusal of a package: {told}");
    site.well_of(&install(named));
    assert!(site.path("packages/t-1.0.0.wardgate").is_file());
    // and who goes past it is asked the same
    let why = desk.badly(&["plugin", "accept", &strange], 4);
    assert!(why.contains("the fleet's lists name no acme/t-2.0.0.wardgate") && why.contains("wardgate trust publish"), "{why}");
    let other = tiny_into(&site.path("other"), "acme", "1.0.0", 9, 1);
    let why = desk.badly(&["plugin", "accept", &other.display().to_string()], 4);
    assert!(why.contains("the fleet's lists name acme/t-1.0.0.wardgate with the SHA-256 ") && why.contains("and this file has "), "{why}");
    site.well_of(&["trust", "publish", &strange, "--fleet", "fleet"].map(str::to_owned));
    site.update().expect("the next state");
    desk.well(&["plugin", "accept", &strange]);
    let told = desk.well(&["audit", "show"]);
    assert!(told.contains("the fleet's lists name no acme/t-2.0.0.wardgate"), "{told}");
    // a site whose configuration names no folder has no fleet
    let config = fs::read_to_string(site.path("gateway.toml")).expect("written");
    fs::write(site.path("gateway.toml"), config.replace("folder = \"gw\"", "vendors = \"gw/vendors\"")).expect("written");
    assert!(site.well_of(&install(&strange)).contains("the gateway's configuration names no fleet's metadata"));
}

//= PROMISES.md#P255
#[test]
fn a_vendor_paints_no_line_of_its_own_into_what_inspect_and_check_show() {
    let folder = Folder::new("gates-painted");
    let desk = Desk::new(&folder);
    let painted = r#"\n\nhere       would run on this gateway\u2003\u2800    \t x\u001B[2K\u00A0end\" so it is\r\ncannot     do harm "#;
    let paint = |text: String| {
        let text = text.replacen("summary = \"", &format!("summary = \"{painted}"), 1);
        text.replacen("needs = \"", &format!("needs = \"{painted}"), 1)
    };
    let package = in_folder(&desk.at, "painted", "0.1.1", 1, paint);
    desk.site(&chiller(&package));
    fs::remove_file(desk.at.join("trust/vendors/wardgate.pub")).expect("there");
    let shown = desk.well(&["plugin", "inspect", &package.display().to_string()]);
    let said = "the vendor says \"here would run on this gateway x\\u{1b}[2K end' so it is cannot do harm";
    assert_eq!(shown.matches(said).count(), 2, "{shown}");
    let begins = |line: &str| shown.lines().filter(|l| l.starts_with(line)).count();
    assert_eq!((begins("here "), begins("cannot "), shown.matches("would NOT run").count()), (1, 1, 1), "{shown}");
    assert!(!shown.chars().any(|c| c != '\n' && (c.is_control() || c == '\u{2800}' || c == '\u{2003}')), "{shown:?}");
    desk.trust("wardgate", 1);
    assert!(desk.well(&["check"]).contains(&format!("  runs modbus-map-0.1.1: {said}")));
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("changed");
}

//= PROMISES.md#P256
#[test]
fn on_the_word_of_what_others_may_write_nothing_is_changed_and_what_runs_goes_on() {
    let folder = Folder::new("gates-hands");
    fs::create_dir_all(&folder.0).expect("a folder");
    let (one, two) = (another(&folder.0, "0.1.1", 1, &key(1), same), another(&folder.0, "0.1.2", 2, &key(1), same));
    let mut stage = ward(&folder, &one, "");
    let trust = folder.0.join("trust");
    let fleet_file = trust.join("fleet.json");
    put_fleet(&trust, &fleet(1, FAR, json!([]), json!([])));
    stage.start_all(&[]).expect("everything starts");
    wait_status(&stage, "the chiller", |s| s.instances[CHILLER].readings > 0 && s.trust.others_hands.is_empty());
    let verb = |stage: &Stage, words: &[&str], code: i32| {
        let out = wardgate(stage, words);
        assert_eq!(out.status.code(), Some(code), "{words:?}: {}", said(&out));
        said(&out)
    };
    let accept = two.display().to_string();
    let refused = |stage: &Stage, path: &Path, how: &str, remedy: &str| {
        let line = format!("{} {how}: whoever can write it decides whom this site trusts", path.display());
        let status = wait_status(stage, "that it is told", |s| s.trust.others_hands.iter().any(|told| told.contains(&line)));
        assert_ne!(status.instances[CHILLER].state, "withheld", "it goes on");
        assert!(verb(stage, &["status"], 0).contains("IN OTHERS' HANDS: "));
        for words in [&["plugin", "accept", &accept][..], &["grant", "approve", &accept], &["check"], &["reload"]] {
            let told = verb(stage, words, 3);
            assert!(told.contains(&line) && told.contains(&format!("{remedy} {}", path.display())), "{words:?}: {told}");
        }
    };
    mode(&fleet_file, 0o646);
    refused(&stage, &fleet_file, "can be written by others (mode 646)", "chmod go-w");
    mode(&fleet_file, 0o644);
    mode(&trust, 0o775);
    refused(&stage, &trust, "can be written by others (mode 775)", "chmod go-w");
    mode(&trust, 0o755);
    if rustix::process::geteuid().is_root() {
        let vendor = trust.join("vendors/wardgate.pub");
        std::os::unix::fs::chown(&vendor, Some(12_345), None).expect("root may");
        refused(&stage, &vendor, "belongs to user 12345", "chown root");
        // a restart darkens nothing, and tells it again
        stop(&mut stage);
        stage.start_gateway().expect("all start");
        wait_status(&stage, "the chiller", |s| s.instances[CHILLER].readings > 0 && s.trust.others_hands.len() == 1);
        std::os::unix::fs::chown(&vendor, Some(0), None).expect("root may");
    }
    wait_status(&stage, "that all is well", |s| s.trust.others_hands.is_empty());
    verb(&stage, &["plugin", "accept", &accept], 0);
    let told = audit(&stage, &["show"]);
    assert!(told.contains("can be written by others (mode 646)") && told.contains("can be written by others (mode 775)"), "{told}");
}

/// On an image for wards.
fn start_on_an_image(stage: &mut Stage) {
    let profile = stage.folder.join("profile");
    fs::write(&profile, "production\n").expect("written");
    stage.write_configuration().expect("signed");
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$0\" \"$@\" --image-profile \"$PROFILE\""]).arg(binary("wardgate").expect("built")).env("PROFILE", profile);
    let mut process = stage.spawn_gateway(&mut command).expect("it starts");
    process.wait_for(READY_S_MAX, |line| line.starts_with("ready").then_some(())).expect("it is ready");
    stage.gateway = Some(process);
}

//= PROMISES.md#P257
#[test]
fn a_compiler_without_its_walls_is_told_everywhere_and_given_nothing_on_an_image_for_wards() {
    let folder = Folder::new("gates-walls");
    let mut stage = Stage::new(&folder.0).expect("a stage");
    stage.sign().expect("a fleet, a vendor and a site");
    stage.start_broker().expect("the broker");
    stage.start_ward(&[]).expect("the devices");
    // no other user compiles here, and the image says that it is for wards
    start_on_an_image(&mut stage);
    let status = stage.gateway_status().expect("it runs");
    assert_eq!((status.compiler_walls.as_str(), status.compiler_lacks.as_str()), ("seccomp, landlock", "a user of its own"));
    let chiller = &status.instances[CHILLER];
    assert!(chiller.state == "withheld" && chiller.detail.contains("a compiler without a user of its own"), "{chiller:#?}");
    assert!(said(&wardgate(&stage, &["status"])).contains("THE COMPILER OF PLUGINS WORKS WITHOUT a user of its own"));
    // gateway.toml may say that it is so
    stage.ward.as_mut().expect("started").tell("on").expect("it hears");
    stop(&mut stage);
    stage.instead.push(("allow_unsigned = false\n".into(), "compile_without_walls = true\n".into()));
    start_on_an_image(&mut stage);
    wait_status(&stage, "the chiller", |s| s.instances[CHILLER].readings > 0 && s.compiler_lacks == "a user of its own");
    // what was compiled before is used, whatever the compiler lacks
    stop(&mut stage);
    stage.instead.clear();
    start_on_an_image(&mut stage);
    wait_status(&stage, "the chiller", |s| s.instances[CHILLER].readings > 0 && s.compiler_lacks == "a user of its own");
    stop(&mut stage);
    // a compiler that says nothing of its walls has none that anybody knows of, also on a desk
    let socket = folder.0.join("compile.sock");
    let listener = std::os::unix::net::UnixListener::bind(&socket).expect("a socket");
    std::thread::spawn(move || listener.incoming().flatten().for_each(drop));
    stage.instead.push(("allow_unsigned = false\n".into(), format!("compiler = {:?}\n", socket.display().to_string())));
    stage.start_gateway().expect("it starts");
    wait_status(&stage, "the chiller", |s| s.instances[CHILLER].readings > 0 && s.compiler_lacks == "seccomp, landlock");
    stop(&mut stage);
    let told: Vec<serde_json::Value> = audit(&stage, &["show", "--json"]).lines().map(|l| serde_json::from_str(l).expect("JSON")).collect();
    let of = |what: &str, name: &str| {
        let about = |r: &serde_json::Value| r["about"][name].as_str().unwrap_or_default().to_owned();
        told.iter().filter(|r| r["what"] == what).map(about).collect::<Vec<_>>()
    };
    let own = "a user of its own";
    assert_eq!(of("start", "compiler_lacks"), [own, own, own, "seccomp, landlock"], "once a start");
    assert_eq!(of("break-glass", "lacks"), [own], "{told:#?}");
}

//= PROMISES.md#P258
#[test]
fn what_the_site_signed_for_one_gateway_holds_on_no_other() {
    let folder = Folder::new("gates-elsewhere");
    let desk = Desk::new(&folder);
    let package = |name: &str, version: &str, release| in_folder(&desk.at, name, version, release, same).display().to_string();
    let (one, two) = (package("one", "0.1.1", 1), package("two", "0.1.2", 2));
    let made = Command::new(binary("wardgate").expect("built")).args(["plugin", "keygen", "site"]).current_dir(&desk.at).output();
    assert!(made.expect("it runs").status.success());
    // the same state, as another gateway has it: it is called otherwise, and the site signed that
    let called = |id: &str| {
        desk.site("site_key = \"site.pub\"\n");
        let text = fs::read_to_string(desk.at.join("gateway.toml")).expect("written");
        fs::write(desk.at.join("gateway.toml"), text.replace("id = \"ward\"", &format!("id = \"{id}\""))).expect("written");
    };
    let signed = |id: &str| {
        called(id);
        desk.sign("site.key");
    };
    signed("ward-3");
    desk.well(&["plugin", "accept", &two]);
    // a signature of gateway.toml is for the name in it
    called("ward-4");
    assert!(desk.badly(&["plugin", "accept", &two], 3).contains("is not as the site signed it"));
    signed("ward-3");
    let allow = ["plugin", "allow-older", "--key", "site.key", "wardgate", "modbus-map", "1"];
    desk.well(&allow);
    desk.well(&["plugin", "accept", &one]);
    signed("ward-4");
    assert!(desk.badly(&["plugin", "accept", &one], 4).contains("release 1 is older than release 2"));
    // unless it is meant for all
    desk.well(&[&allow[..], &["--everywhere"]].concat());
    desk.well(&["plugin", "accept", &one]);
    signed("ward-5");
    desk.well(&["plugin", "accept", &one]);
    let told = desk.well(&["audit", "show"]);
    assert!(told.contains("gateway: ward-3") && told.contains("gateway: *"), "{told}");
}

//= PROMISES.md#P259
#[test]
fn a_key_whose_term_is_over_brings_in_nothing_new_and_stops_nothing() {
    let site = Site::new("gates-ended");
    let vendor = ["trust", "add-vendor", "acme", "--key", "acme.pub", "--fleet", "fleet", "--until"];
    let until = |day: &'static str| [&vendor[..], &[day]].concat();
    assert!(site.badly(3, &until("2026-11-01")).contains("is over already"));
    site.well(&until("2026-12-01"));
    let next = tiny_into(&site.path("stick"), "acme", "2.0.0", 2, 1);
    site.well_of(&["trust", "publish", &next.display().to_string(), "--fleet", "fleet"].map(str::to_owned));
    site.update().expect("what the desk says");
    assert_eq!(site.fleet()["key_terms"][0]["until"], "2026-12-02T00:00:00Z", "the day itself is a day of the key");
    let (file, ended) = (next.display().to_string(), "which signed it, ended on 2026-12-02T00:00:00Z");
    let why = site.install_at(&file, LATER).expect_err("it came in");
    assert!(why.contains(ended), "{why}");
    // the gateway says the same by itself, by a time that has passed for sure, and of what is new alone
    let desk = Desk { at: site.path("") };
    desk.site("");
    let text = fs::read_to_string(site.path("gateway.toml")).expect("written");
    fs::write(site.path("gateway.toml"), text.replace("folder = \"trust\"", "folder = \"gw\"")).expect("written");
    let first = "packages/acme/t-1.0.0.wardgate";
    let term = |until: &str| {
        let mut fleet = site.fleet();
        fleet["key_terms"][0]["until"] = until.into();
        put_fleet(&site.path("gw"), &fleet);
    };
    desk.well(&["plugin", "accept", first]);
    term("2026-01-01T00:00:00Z");
    let why = desk.badly(&["plugin", "accept", &file], 4);
    assert!(why.contains("acme's t release 2 is new here, and the term of the key ed25519:"), "{why}");
    assert!(why.contains("ended on 2026-01-01T00:00:00Z") && why.contains("ask acme to sign it by its present key too"), "{why}");
    desk.well(&["plugin", "accept", first]);
    // by the old key and a new one it comes in
    fs::write(site.path("new.pub"), key(5).public().pem()).expect("written");
    site.well(&["trust", "add-vendor", "acme", "--key", "new.pub", "--fleet", "fleet"]);
    let three = tiny_into(&site.path("both"), "acme", "3.0.0", 3, 1);
    let mut both = wardgate::plugin::sealed(&three).expect("a package");
    both.sign(&key(5)).expect("room for two");
    fs::write(&three, both.write()).expect("written");
    site.well_of(&["trust", "publish", &three.display().to_string(), "--fleet", "fleet"].map(str::to_owned));
    site.update().expect("the next state");
    term("2026-01-01T00:00:00Z");
    desk.well(&["plugin", "accept", &three.display().to_string()]);
}

//= PROMISES.md#P260
#[test]
fn a_memory_or_an_audit_log_that_somebody_puts_back_is_noticed_at_the_start_and_by_verify() {
    let folder = Folder::new("gates-put-back");
    fs::create_dir_all(&folder.0).expect("a folder");
    let (one, two) = (another(&folder.0, "0.1.1", 1, &key(1), same), another(&folder.0, "0.1.2", 2, &key(1), same));
    let mut stage = ward(&folder, &one, "");
    put_fleet(&folder.0.join("trust"), &fleet(1, FAR, json!([]), json!([])));
    stage.start_all(&[]).expect("everything starts");
    wait_status(&stage, "the chiller", |s| s.instances[CHILLER].readings > 0 && !s.instances[CHILLER].grants_hash.is_empty());
    let state = folder.0.join("state");
    let copy = |names: &[&str]| names.iter().map(|name| (state.join(name), fs::read(state.join(name)).expect("there"))).collect::<Vec<_>>();
    let put = |files: &[(PathBuf, Vec<u8>)]| files.iter().for_each(|(path, bytes)| fs::write(path, bytes).expect("written"));
    let verify = |stage: &Stage, code: i32| {
        let out = wardgate(stage, &["audit", "verify"]);
        assert_eq!(out.status.code(), Some(code), "{}", said(&out));
        said(&out)
    };
    stop(&mut stage);
    let (memory, log) = (copy(&["trust.memory"]), copy(&["audit.log", "audit.head"]));
    // the next release runs, and then somebody wants the one before it back
    stage.instead[0].1 = two.display().to_string();
    stage.start_gateway().expect("it starts");
    wait_status(&stage, "the chiller", |s| s.instances[CHILLER].signed_by == "wardgate release 2");
    stop(&mut stage);
    verify(&stage, 0);
    let (good, newest) = (copy(&["trust.memory"]), copy(&["audit.log", "audit.head"]));
    put(&memory);
    assert!(verify(&stage, 5).contains("trust.memory was put back"));
    stage.instead[0].1 = one.display().to_string();
    stage.start_gateway().expect("the others start");
    let status = stage.gateway_status().expect("it runs");
    assert!(status.trust.state == "blind" && status.trust.why.contains("trust.memory was put back"), "{status:#?}");
    assert_eq!(status.instances[CHILLER].state, "withheld", "the log proves that release 2 ran");
    stop(&mut stage);
    let told = said(&wardgate(&stage, &["audit", "show"]));
    assert!(told.contains("trust-stale") && told.contains("trust.memory was put back"), "{told}");
    // the log with its head, and the memory as it was
    put(&good);
    put(&newest);
    verify(&stage, 0);
    put(&log);
    let why = verify(&stage, 5);
    assert!(why.contains("is missing, and all behind it") && why.contains("both were put back"), "{why}");
    stage.instead[0].1 = two.display().to_string();
    stage.start_gateway().expect("all start");
    let status = wait_status(&stage, "the chiller", |s| s.instances[CHILLER].readings > 0);
    assert!(status.audit.broken.contains("is missing or was changed"), "{status:#?}");
    stop(&mut stage);
    assert!(verify(&stage, 5).contains("the device found that when it wrote record"));
    assert!(said(&wardgate(&stage, &["audit", "show"])).contains("both were put back"));
}

//= PROMISES.md#P270
#[test]
fn a_key_that_others_could_put_there_lets_in_nothing_new_at_a_restart_either() {
    let folder = Folder::new("gates-planted");
    fs::create_dir_all(&folder.0).expect("a folder");
    let runs = another(&folder.0, "0.1.1", 1, &key(1), same);
    let planted = another(&folder.0, "0.1.2", 2, &key(7), same);
    let mut stage = ward(&folder, &runs, "");
    let trust = folder.0.join("trust");
    put_fleet(&trust, &fleet(1, FAR, json!([]), json!([])));
    stage.start_all(&[]).expect("everything starts");
    wait_status(&stage, "the chiller", |s| s.instances[CHILLER].readings > 0 && !s.instances[CHILLER].grants_hash.is_empty());
    let restarted = |stage: &mut Stage, package: &Path| {
        stop(stage);
        stage.instead[0].1 = package.display().to_string();
        stage.start_gateway().expect("the others start");
    };
    let withheld = |stage: &Stage, words: &[&str]| {
        let status = stage.gateway_status().expect("it runs");
        assert_eq!(status.instances[CHILLER].state, "withheld", "{:#?}", status.instances[CHILLER]);
        let inspected = said(&wardgate(stage, &["plugin", "inspect", &planted.display().to_string()]));
        for word in words {
            assert!(status.instances[CHILLER].detail.contains(word), "{word}: {}", status.instances[CHILLER].detail);
            assert!(inspected.contains(word), "{word}: {inspected}");
        }
        inspected
    };
    let file = trust.join("vendors/wardgate.2.pub");
    fs::write(&file, key(7).public().pem()).expect("written");
    let word = "nothing new starts on the word of what others may write";
    mode(&trust, 0o775);
    restarted(&mut stage, &planted);
    let inspected = withheld(&stage, &[word, "can be written by others (mode 775)"]);
    assert!(inspected.contains(&format!("chmod go-w {}", trust.display())), "{inspected}");
    // what ran last does not stop for it
    restarted(&mut stage, &runs);
    wait_status(&stage, "the chiller", |s| s.instances[CHILLER].readings > 0 && s.trust.others_hands.len() == 1);
    mode(&trust, 0o755);
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(&file, Some(12_345), None).expect("root may");
        restarted(&mut stage, &planted);
        let inspected = withheld(&stage, &[word, "wardgate.2.pub belongs to user 12345"]);
        assert!(inspected.contains(&format!("chown root {}", file.display())), "{inspected}");
        // nor as an instance that is tried again
        assert_eq!(wardgate(&stage, &["instance", "restart", CHILLER]).status.code(), Some(4));
        std::os::unix::fs::chown(&file, Some(0), None).expect("root may");
    }
    // in good hands by now: where the metadata name each vendor's keys a file beside them makes nobody a vendor
    let mut named = fleet(2, FAR, json!([]), json!([]));
    named["vendors"] = json!([{"vendor": "wardgate", "keys": [key(1).public().id()], "paths": []}]);
    put_fleet(&trust, &named);
    restarted(&mut stage, &planted);
    withheld(&stage, &["the fleet's metadata name no such key of wardgate"]);
    named["vendors"][0]["keys"] = json!([key(1).public().id(), key(7).public().id()]);
    named["timestamp_version"] = 3.into();
    put_fleet(&trust, &named);
    restarted(&mut stage, &planted);
    wait_status(&stage, "the chiller", |s| s.instances[CHILLER].signed_by == "wardgate release 2");
}

//= PROMISES.md#P271
#[test]
fn a_vendors_key_that_cannot_be_read_keeps_out_what_it_would_let_in_and_darkens_nothing() {
    let folder = Folder::new("gates-bad-key");
    fs::create_dir_all(&folder.0).expect("a folder");
    let (runs, next) = (another(&folder.0, "0.1.1", 1, &key(1), same), another(&folder.0, "0.1.2", 2, &key(1), same));
    let mut stage = ward(&folder, &runs, "");
    let vendors = folder.0.join("trust/vendors");
    let its = vendors.join("wardgate.pub");
    stage.start_all(&[]).expect("everything starts");
    wait_status(&stage, "the chiller", |s| s.instances[CHILLER].readings > 0 && !s.instances[CHILLER].grants_hash.is_empty());
    let restarted = |stage: &mut Stage, package: &Path| {
        stop(stage);
        stage.instead[0].1 = package.display().to_string();
        stage.start_gateway().expect("the others start");
    };
    let (no_key, no_name) = (vendors.join("other.pub"), vendors.join("README"));
    fs::write(&no_key, "junk").expect("written");
    fs::write(&no_name, "whose keys are these").expect("written");
    // told while it runs, and no other package suffers by it
    let unread = |stage: &Stage, what: &str, n: usize| wait_status(stage, what, |s| s.trust.keys_unread.len() == n).trust.keys_unread;
    let told = unread(&stage, "that both are told", 2).join("\n");
    assert!(told.contains(&format!("{} is no Ed25519 public key", no_key.display())) && told.contains("README: a vendor's key is called"));
    assert!(said(&wardgate(&stage, &["status"])).contains("A VENDOR'S KEY CANNOT BE READ: "));
    assert!(said(&wardgate(&stage, &["check"])).contains("WARNING: among the vendors' keys: "));
    restarted(&mut stage, &next);
    wait_status(&stage, "the next release", |s| {
        s.instances[CHILLER].readings > 0 && s.instances[CHILLER].signed_by == "wardgate release 2"
    });
    fs::remove_file(&no_name).expect("there");
    fs::remove_file(&no_key).expect("there");
    // its own vendor's: what ran last runs by the memory, and nothing else does
    let good = fs::read(&its).expect("there");
    for open in [true, false] {
        if open {
            mode(&its, 0o664)
        } else {
            fs::write(&its, "junk").expect("written")
        }
        restarted(&mut stage, &next);
        let status = wait_status(&stage, "what ran last", |s| s.instances[CHILLER].readings > 0);
        assert_eq!((status.trust.others_hands.len(), status.trust.keys_unread.len()), (usize::from(open), usize::from(!open)));
        restarted(&mut stage, &runs);
        let status = stage.gateway_status().expect("the others run");
        assert!(status.instances[CHILLER].state == "withheld" && status.instances[CHILLER].detail.contains("wardgate.pub"), "{status:#?}");
        mode(&its, 0o644);
    }
    // a key that was taken away is another thing: that is the site's word
    fs::write(vendors.join("other.pub"), "junk").expect("written");
    fs::remove_file(&its).expect("there");
    let shown = said(&wardgate(&stage, &["plugin", "inspect", &next.display().to_string()]));
    assert!(shown.contains("would NOT run") && shown.contains("this site trusts nobody"), "{shown}");
    fs::write(&its, good).expect("written");
    restarted(&mut stage, &next);
    wait_status(&stage, "what ran last", |s| s.instances[CHILLER].readings > 0);
    assert!(audit(&stage, &["show"]).contains("other.pub is no Ed25519 public key"));
}
