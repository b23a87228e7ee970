//! The Bluetooth room on a simulated BlueZ (`wardgate-lab bluez`), which can do what a real one does once a year: everything that goes wrong, one
//! after the other, while everybody else speaks on.

use wardgate_lab::accountant::{Content, read_gaps};
use wardgate_lab::stage::{bluetooth, unsigned};

use crate::ble_ward::Ward;
use crate::ward::{Folder, wait_to_see};

const RECORDS: usize = 60;
/// Kind, name, plugin, and the channel whose values are one of a kind.
const DEVICES: [(&str, &str, &str, &str); 8] = [
    ("belt", "belt-1", "ble-heart-rate", "energy-expended"),
    ("belt", "belt-2", "ble-heart-rate", "energy-expended"),
    ("belt", "belt-3", "ble-heart-rate", "energy-expended"),
    ("belt", "flapper", "ble-heart-rate", "energy-expended"),
    ("belt", "mute", "ble-heart-rate", "energy-expended"),
    ("twins", "twins", "ble-heart-rate", "energy-expended"),
    ("oximeter", "oximeter", "ble-oximeter", "pulse-amplitude-index"),
    ("meter=60", "meter", "ble-glucose", "sequence"),
];

fn ward(folder: &Folder) -> Ward {
    let address = |n: usize| format!("F0:00:00:00:0E:{n:02X}");
    let devices: Vec<_> = DEVICES.iter().enumerate().map(|(n, (kind, name, ..))| format!("{kind}:{name}:{}", address(n))).collect();
    let ward = Ward::new(folder, &devices);
    let bound =
        DEVICES.iter().enumerate().map(|(n, (_, name, plugin, _))| bluetooth(name, &unsigned(plugin), plugin, &address(n), "bed-1"));
    ward.configure(&bound.collect::<String>());
    ward
}

/// The values of its mark: what went out, what came.
fn values(ward: &Ward, name: &str) -> (Vec<Content>, Vec<Content>) {
    let mark = DEVICES.iter().find(|d| d.1 == name).unwrap().3;
    (ward.went(name, mark), ward.came(name, mark))
}

/// Each of these has said something new, and it has come.
fn heard_again(ward: &Ward, names: &[&str]) {
    for name in names {
        let before = values(ward, name).1.len();
        wait_to_see(&format!("{name} to be heard after {before} values"), || values(ward, name), |(_, came)| came.len() >= before + 3);
    }
}

/// How many gaps lie in the ledger because this device was not there.
fn off(ward: &Ward, name: &str) -> usize {
    read_gaps(&ward.stage.output()).iter().filter(|g| g.instance == name && g.reason == "device-off").count()
}

/// What befell these is told in the ledger, with the reason that docs/faults.md has.
fn told_as_off(ward: &Ward, before: &[(&str, usize)]) {
    for (name, before) in before {
        wait_to_see(&format!("a gap device-off of {name} after {before}"), || off(ward, name), |now| now > before);
    }
}

fn counted<'n>(ward: &Ward, names: &[&'n str]) -> Vec<(&'n str, usize)> {
    names.iter().map(|name| (*name, off(ward, name))).collect()
}

const BELTS: [&str; 3] = ["belt-1", "belt-2", "belt-3"];
const ALL_THAT_SPEAK: [&str; 6] = ["belt-1", "belt-2", "belt-3", "flapper", "twins", "oximeter"];

//= PROMISES.md#P193
#[test]
fn whatever_goes_wrong_with_one_the_others_are_heard_and_nothing_is_lost() {
    let folder = Folder::new("ble-faults");
    let mut ward = ward(&folder);
    ward.order("busy 3");
    ward.order("mute mute");
    ward.order("cut meter 25");
    ward.start_gateway();
    ward.order("on");
    heard_again(&ward, &ALL_THAT_SPEAK);
    // it vanished when its memory was half told
    wait_to_see("the meter to be cut", || values(&ward, "meter"), |(went, _)| went.len() == 25);
    heard_again(&ward, &BELTS);
    ward.order("return meter");
    wait_to_see("the rest of its memory", || values(&ward, "meter"), |(_, came)| came.len() >= RECORDS);

    let (flapping, others) = (counted(&ward, &["flapper"]), counted(&ward, &BELTS));
    ward.order("flap flapper 3");
    heard_again(&ward, &BELTS);
    told_as_off(&ward, &flapping);
    assert_eq!(counted(&ward, &BELTS), others, "the neighbours of a flapping belt have gaps");
    let before = counted(&ward, &ALL_THAT_SPEAK);
    ward.order("adapter gone");
    told_as_off(&ward, &before); // while they are
    ward.order("adapter back");
    heard_again(&ward, &ALL_THAT_SPEAK);
    let before = counted(&ward, &ALL_THAT_SPEAK);
    ward.order("bluetoothd down");
    told_as_off(&ward, &before);
    ward.order("bluetoothd up");
    ward.order("busy 2");
    heard_again(&ward, &ALL_THAT_SPEAK);
    ward.order("unmute mute");
    heard_again(&ward, &["mute"]);

    ward.order("off");
    for (_, name, ..) in DEVICES {
        let (went, came) =
            wait_to_see(&format!("what is on its way of {name}"), || values(&ward, name), |(went, came)| came.len() >= went.len());
        assert_eq!(came, went, "{name}: what came, what went out");
        println!("{name}: {} of {}", came.len(), went.len());
    }
    ward.stop();
}

/// The site grants a meter's whole memory, and a package came that asks to count it only.
//= PROMISES.md#P328
#[test]
fn what_a_package_does_not_ask_for_is_refused_although_the_site_grants_it() {
    const METER: &str = "F0:00:00:00:0F:01";
    let folder = Folder::new("ble-asked");
    let mut ward = Ward::new(&folder, &[format!("meter=3:meter:{METER}")]);
    let package = folder.0.join("ble-glucose-0.1.0");
    std::fs::create_dir_all(&package).unwrap();
    for file in std::fs::read_dir(unsigned("ble-glucose")).unwrap().map(Result::unwrap).filter(|file| file.file_type().unwrap().is_file()) {
        std::fs::copy(file.path(), package.join(file.file_name())).unwrap();
    }
    let manifest = package.join("manifest.toml");
    let text = std::fs::read_to_string(&manifest).unwrap();
    // and says nothing of what it does without the rest
    let kept = |line: &&str| !["at_most", "\"2a52 01", "\"2a52 03"].iter().any(|begin| line.starts_with(begin));
    let asks = |text: &str| text.lines().filter(kept).map(|line| format!("{line}\n")).collect::<String>();
    let counts_only = asks(&text).replace("\"04 03 01 ?? ??\", \"01 01\", \"01 03 01 ?? ??\", \"03 00\"", "\"04 03 01 ?? ??\"");
    assert_ne!(counts_only, asks(&text));
    std::fs::write(&manifest, counts_only).unwrap();
    ward.configure(&bluetooth("meter", &package.display().to_string(), "ble-glucose", METER, "bed-1"));
    ward.start_gateway();
    ward.order("on");
    let refused = wait_to_see(
        "a report to be refused",
        || std::fs::read_to_string(ward.stage.folder.join("log/gateway.log")).unwrap_or_default(),
        |log| log.contains("gateway.toml, line ") && log.contains("and its own package does not ask for"),
    );
    assert!(refused.contains("[asks.ble] in manifest.toml"), "{refused}");
    assert_eq!(ward.came("meter", "sequence"), []);
    ward.stop();
}
