//! Which real Bluetooth devices are near, for whoever looks at the demo: heard through this machine's own BlueZ, and nothing else is done with them.

use std::fs;
use std::time::Duration;

use tokio::time::timeout;
use wardgate::capability::ble::{AddressKind, BluezError, Person, PersonError, Seen, service_name};
use wardgate::config::{Ble, Link, Manifest};

use crate::process::root;

/// Most devices advertise at least once in two seconds.
const SCAN_S: u64 = 4;
/// The scan, and a BlueZ that is slow beside it; the demo waits no longer.
const LOOK_S_MAX: u64 = SCAN_S + 5;
/// So many are shown: most are people's telephones and watches.
const SHOWN_MAX: usize = 8;
/// What every plugin reads besides its own: who the device is, and its battery.
const EVERYBODYS: [&str; 2] = ["180a", "180f"];

/// A plugin of this tree: its name, the services that it asks for, and the grant that would do.
struct Reader {
    plugin: String,
    services: Vec<String>,
    grant: String,
}

/// Lines for people, at any rate one. Nothing is switched on, connected, paired or kept, and nothing waits for long.
pub fn heard() -> String {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return String::new() };
    let looked = runtime.block_on(async { timeout(Duration::from_secs(LOOK_S_MAX), look()).await });
    runtime.shutdown_timeout(Duration::ZERO);
    match looked {
        Ok(Ok((adapter, all))) => in_words(&adapter, &all, &readers()),
        Ok(Err(PersonError::Bluez(why @ BluezError::Bus(_)))) => format!("no real Bluetooth device is shown: {why}"),
        Ok(Err(PersonError::Bluez(BluezError::Absent))) => "this machine runs no BlueZ, so no real Bluetooth device is shown".to_owned(),
        Ok(Err(PersonError::Bluez(BluezError::NoAdapter(_)))) => {
            "this machine's BlueZ has no adapter, so no real Bluetooth device is shown".to_owned()
        }
        Ok(Err(why)) => format!("no real Bluetooth device is shown: of this machine's BlueZ, {why}; {}", why.remedy()),
        Err(_) => format!("this machine's BlueZ does not answer within {LOOK_S_MAX} s, so no real Bluetooth device is shown"),
    }
}

async fn look() -> Result<(String, Vec<Seen>), PersonError> {
    let person = Person::beside(&Ble::default()).await?;
    let all = person.scan(SCAN_S).await?;
    Ok((person.adapter().to_owned(), all))
}

fn readers() -> Vec<Reader> {
    let folders = fs::read_dir(root().join("plugins")).into_iter().flatten().flatten();
    let mut readers: Vec<_> = folders.filter_map(|folder| reader(&folder.path().join("manifest.toml"))).collect();
    readers.sort_by(|a, b| a.plugin.cmp(&b.plugin));
    readers
}

fn reader(manifest: &std::path::Path) -> Option<Reader> {
    let manifest = Manifest::parse(&fs::read_to_string(manifest).ok()?).ok()?;
    let ask = manifest.asks.get(&Link::Ble)?;
    let services = ask.grants()?.ble?.services.into_iter().filter(|service| !EVERYBODYS.contains(&service.as_str())).collect();
    Some(Reader { plugin: manifest.name, services, grant: ask.grant.clone() })
}

/// Those first that a plugin here reads. An address is shown only where somebody needs it.
fn in_words(adapter: &str, all: &[Seen], readers: &[Reader]) -> String {
    if all.is_empty() {
        return format!("this machine's BlueZ ({adapter}) heard no Bluetooth device in {SCAN_S} s");
    }
    let who_reads = |seen: &Seen| -> Vec<&Reader> {
        readers.iter().filter(|r| r.services.iter().any(|service| seen.services.contains(service))).collect()
    };
    let (read, others): (Vec<_>, Vec<_>) = all.iter().map(|seen| (seen, who_reads(seen))).partition(|(_, who)| !who.is_empty());
    let mut text = format!(
        "this machine's BlueZ ({adapter}) heard {} real Bluetooth device{} in {SCAN_S} s, beside the ward; only listened to, and nothing is kept of it:",
        all.len(),
        if all.len() == 1 { "" } else { "s" }
    );
    for (seen, who) in read.iter().chain(&others).take(SHOWN_MAX) {
        text += &format!("\n  {}", one(seen));
        text += &who.iter().map(|reader| next(seen, reader)).collect::<String>();
    }
    if all.len() > SHOWN_MAX {
        text += &format!("\n  and {} more", all.len() - SHOWN_MAX);
    }
    text
}

fn one(seen: &Seen) -> String {
    let name = if seen.name.is_empty() { format!("({})", seen.called()) } else { format!("\"{}\"", seen.name) };
    let strength = seen.rssi_dbm.map(|dbm| format!(", {dbm} dBm")).unwrap_or_default();
    let address = match seen.address_kind {
        AddressKind::Public => "a public address",
        AddressKind::Static => "a random address that stays",
        AddressKind::Changing => "a random address that changes",
    };
    let services: Vec<_> = seen.services.iter().map(|service| service_name(service)).collect();
    let services = if services.is_empty() { "no services told".to_owned() } else { services.join(", ") };
    format!("{name}{strength}, {address}: {services}")
}

/// How to go on with a device that a plugin here reads.
fn next(seen: &Seen, Reader { plugin, grant, .. }: &Reader) -> String {
    let address = &seen.address;
    let bound = grant.replace("address = \"..\"", &format!("address = \"{address}\""));
    let first = match seen.address_kind {
        AddressKind::Changing => {
            format!("its address changes: first `wardgate ble pair {address}`; `wardgate ble list` then shows the one to write")
        }
        _ => format!("in this demo: --ble {plugin}={address}; on a gateway, where it asks for a bond: `wardgate ble pair {address}`"),
    };
    format!("\n    {plugin} reads it; {first}\n    below [instance.NAME.grants]: {bound}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(name: &str, services: &[&str], address_kind: AddressKind) -> Seen {
        let mut seen = Seen::default();
        (seen.address, seen.name, seen.address_kind) = ("F0:00:00:00:00:01".into(), name.into(), address_kind);
        seen.services = services.iter().map(|s| (*s).to_owned()).collect();
        seen
    }

    //= PROMISES.md#P290
    #[test]
    fn of_a_crowd_those_are_shown_that_a_plugin_reads_and_of_the_others_no_address() {
        let mut all: Vec<_> = (0..20).map(|n| device(&format!("telephone {n}"), &["fe9f"], AddressKind::Changing)).collect();
        all.push(device("strap", &["180d", "180f"], AddressKind::Static));
        let text = in_words("hci0", &all, &readers());
        let shown: Vec<_> = text.lines().filter(|l| l.starts_with("  \"")).collect();
        assert_eq!(shown.len(), SHOWN_MAX, "{text}");
        assert!(shown[0].contains("\"strap\", a random address that stays: Heart Rate, Battery"), "{text}");
        assert_eq!(text.matches("F0:00:00:00:00:01").count(), 3, "of the strap, and of nobody else: {text}");
        assert!(text.contains("--ble ble-heart-rate=F0:00:00:00:00:01") && text.ends_with("and 13 more"), "{text}");
        assert!(text.contains("ble = { address = \"F0:00:00:00:00:01\", services = [\"180d\", \"180a\", \"180f\"] }"), "{text}");
        let hidden = in_words("hci0", &[device("strap", &["180d"], AddressKind::Changing)], &readers());
        assert!(hidden.contains("its address changes: first `wardgate ble pair") && !hidden.contains("--ble"), "{hidden}");
    }

    #[test]
    fn each_bluetooth_plugin_of_this_tree_reads_something() {
        let readers = readers();
        assert!(readers.len() >= 11 && readers.iter().all(|r| !r.services.is_empty()), "{}", readers.len());
    }
}
