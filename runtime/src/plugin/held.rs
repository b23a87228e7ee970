//! What the site grants, held against what the package asks for: what is not granted and what its plugin does without that, and what is granted
//! beyond it. Pure.

use std::collections::BTreeMap;

use super::bound::Bound;
use crate::capability::{Part, ble};
use crate::config::{Ask, Grants, Link, Manifest};
use crate::contract::one_line;

/// Lines for people, of all links together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    pub less: Vec<String>,
    pub more: Vec<String>,
}

/// What every plugin for Bluetooth reads by the SDK, and does without.
const EVERYBODYS: [(&str, &str); 2] =
    [("180a", "who the device is stays unknown, its serial number too"), ("180f", "its battery is not told")];
const REASON_BYTES_MAX: usize = 300; // a package's own words, longer than its manifest may have them
const NO_SERVICE: &str = "nothing of what is read there comes";
const NO_CONNECTION: &str = "it only hears broadcasts: broadcast = true stands in the grant";
const NOT_SAID: &str = "its README says what comes of that";
/// Whatever a link's example cannot say is left out: an address, a port, a bus. What a plugin asks to read over Modbus depends on its settings, and
/// a trial shows that; here only what changes a device counts.
pub fn held(grants: &Grants, manifest: &Manifest) -> Held {
    let mut held = Held::default();
    for link in grants.links().difference(&manifest.links) {
        held.more.push(format!("{link} devices at all, which it cannot ask anything of"));
    }
    for (link, ask) in &manifest.asks {
        let most = ask.at_most.as_ref().unwrap_or(&ask.grant);
        let read = (Bound::of(*link, grants), Bound::read(*link, &ask.grant), Bound::read(*link, most));
        let (Ok(granted), Ok(asked), Ok(most)) = read else { continue };
        // what is asked to be changed over Modbus follows from settings as what is read does
        let less = if *link == Link::Modbus { Vec::new() } else { granted.lacks(&asked) };
        held.less.extend(with_reasons(ask, [granted.set_otherwise(&asked), less].concat()));
        held.more.extend(most.lacks(&granted).into_iter().map(|part| part.words));
    }
    held
}

/// With what the plugin does without each; what comes of it in the same way stands together.
fn with_reasons(ask: &Ask, less: Vec<Part>) -> Vec<String> {
    let mut by_reason: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for Part { words, keys } in less {
        let said = keys.iter().find_map(|key| ask.without.get(key).map(String::as_str));
        let usual = || EVERYBODYS.iter().find(|(service, _)| keys.iter().any(|key| key == service)).map(|(_, says)| *says);
        let otherwise = || match words.as_str() {
            ble::CONNECTED => NO_CONNECTION,
            service if service.starts_with(ble::THE_SERVICE) => NO_SERVICE,
            _ => NOT_SAID,
        };
        let reason = said.or_else(usual).unwrap_or_else(otherwise);
        by_reason.entry(reason).or_default().push(words);
    }
    let line = |(reason, words): (&str, Vec<String>)| format!("{} (without that {})", words.join(", "), one_line(reason, REASON_BYTES_MAX));
    by_reason.into_iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held_of(asks: &str, grants: &str) -> Held {
        let text =
            format!("name = \"meter\"\nversion = \"1.0.0\"\nlinks = [\"ble\", \"serial\", \"modbus\"]\n[channels]\nnumeric = 1\n{asks}");
        held(&toml::from_str(grants).unwrap(), &Manifest::parse(&text).unwrap())
    }

    const METER: &str = "[asks.ble]\nneeds = \"x\"\ngrant = '''ble = { address = \"..\", services = [\"1808\", \"180a\", \"180f\"], \
                         writes = { \"2a52\" = [\"04 01\", \"04 03 01 ?? ??\", \"01 01\"] } }'''\n\
                         without = { \"2a52 04 01\" = \"it does not count\", \"2a52 04 03 01 ?? ??\" = \"it does not count\", \"2a52\" = \"nothing comes\" }\n";

    //= PROMISES.md#P293
    #[test]
    fn what_a_bluetooth_grant_lacks_is_named_with_what_is_done_without_it() {
        let held = |more: &str| held_of(METER, &format!("ble = {{ address = \"F0:00:00:00:00:01\", {more} }}"));
        let whole = "services = [\"1808\", \"180a\", \"180f\"], writes = { \"2a52\" = [\"04 01\", \"04 03 01 ?? ??\", \"01 01\"] }";
        assert_eq!(held(whole), Held::default());
        let narrow = held("services = [\"1808\", \"180a\"], writes = { \"2a52\" = [\"01 01\", \"02 01\"] }");
        assert_eq!(
            narrow.less,
            [
                "to write 04 01 to 2a52, to write 04 03 01 ?? ?? to 2a52 (without that it does not count)",
                "the service 180f, Battery (without that its battery is not told)",
            ]
        );
        assert_eq!(narrow.more, ["to write 02 01 to 2a52"]);
        // a wider pattern covers a narrower one, and the other way it does not
        let wider =
            held("services = [\"1808\", \"180a\", \"180f\"], writes = { \"2a52\" = [\"04 00-0f\", \"04 03 01 ?? ??\", \"01 01\"] }");
        assert_eq!((wider.less.len(), &wider.more[..]), (0, &["to write 04 00-0f to 2a52".to_owned()][..]));
        let seen = held(&format!("{whole}, characteristics = [\"2a18\"], reads = [], notifies = [\"2a18\"]"));
        assert_eq!(
            seen.less,
            [format!("to see more than 2a18, to read anything, to be notified of more than 2a18 (without that {NOT_SAID})")]
        );
        let none = held("services = [\"180a\", \"180f\"]").less;
        assert!(none.contains(&"to write 01 01 to 2a52 (without that nothing comes)".to_owned()), "{none:?}");
        assert!(held("services = [\"180a\"]").less.iter().any(|l| l == &format!("the service 1808, Glucose (without that {NO_SERVICE})")));
    }

    /// What only some settings need is not missed where it is not granted, and not too much where it is.
    //= PROMISES.md#P328
    #[test]
    fn what_is_asked_at_most_is_neither_lacking_nor_too_much() {
        let most = "at_most = '''ble = { address = \"..\", services = [\"1808\", \"180a\", \"180f\"], \
                    writes = { \"2a52\" = [\"04 01\", \"04 03 01 ?? ??\", \"01 01\", \"02 02 01 ?? ??\"] } }'''\n";
        let with = format!("{METER}{most}");
        let held = |writes: &str| {
            let whole = format!("services = [\"1808\", \"180a\", \"180f\"], writes = {{ \"2a52\" = [{writes}] }}");
            held_of(&with, &format!("ble = {{ address = \"F0:00:00:00:00:01\", {whole} }}"))
        };
        let usual = "\"04 01\", \"04 03 01 ?? ??\", \"01 01\"";
        assert_eq!((held(usual), held(&format!("{usual}, \"02 02 01 ?? ??\""))), (Held::default(), Held::default()));
        assert_eq!(held(&format!("{usual}, \"02 ?? 01 ?? ??\"")).more, ["to write 02 ?? 01 ?? ?? to 2a52"]);
    }

    //= PROMISES.md#P326
    #[test]
    fn a_grant_that_only_hears_broadcasts_lacks_the_connection_that_is_asked_for() {
        let hears = "ble = { address = \"F0:00:00:00:00:01\", broadcast = true }";
        let connected = "to be connected with its peripheral";
        let lacks = held_of(METER, hears);
        assert_eq!((&lacks.less[..], lacks.more.len()), (&[format!("{connected} (without that {NO_CONNECTION})")][..], 0));
        let asks = format!("[asks.ble]\nneeds = \"x\"\ngrant = '{hears}'\n");
        assert_eq!(held_of(&asks, hears), Held::default());
        let more = held_of(&asks, "ble = { address = \"F0:00:00:00:00:01\", services = [\"1808\"] }");
        assert_eq!((more.less.len(), &more.more[..]), (0, &[connected.to_owned()][..]));
    }

    /// Also where a manifest did not come by [`Manifest::parse`].
    //= PROMISES.md#P320
    #[test]
    fn no_words_of_a_package_paint_into_the_screen() {
        let without = |says: String| BTreeMap::from([("2a52".to_owned(), says)]);
        let told = |says: &str| {
            let ask = Ask { needs: String::new(), grant: String::new(), at_most: None, without: without(says.to_owned()) };
            with_reasons(&ask, vec![Part { words: "to write 01 to 2a52".into(), keys: vec!["2a52".into()] }]).concat()
        };
        assert_eq!(told("\u{1b}[2J a\n b\u{202e}c"), "to write 01 to 2a52 (without that \\u{1b}[2J a b\\u{202e}c)");
        assert!(told(&"x".repeat(9999)).len() < 2 * REASON_BYTES_MAX);
        // and a pattern is written as the pattern language has it
        let asks = "[asks.serial]\nneeds = \"x\"\ngrant = \"serial = { port = '/dev/x', baud = 9600, writes = ['1b 5b 32 4a', '\\\"A\\\" e2 80 ae'] }\"\n";
        let held = held_of(asks, "serial = { port = \"/dev/y\", baud = 9600 }");
        assert!(held.less.len() == 1 && held.less[0].bytes().all(|b| (b' '..=b'~').contains(&b)), "{:?}", held.less);
    }

    //= PROMISES.md#P293
    #[test]
    fn serial_and_modbus_grants_are_held_against_what_is_asked_too() {
        let serial = "[asks.serial]\nneeds = \"x\"\ngrant = '''serial = { port = \"/dev/x\", baud = 9600, writes = ['\"A\\r\"'] }'''\n";
        let modbus = "[asks.modbus]\nneeds = \"x\"\ngrant = '''modbus = { bus = \"b\", servers = [1], allow = [{ function = 3, addresses = [\"0\"] }] }'''\n";
        let asks = format!("{serial}{modbus}");
        let right = held_of(&asks, "serial = { port = \"/dev/y\", baud = 9600, writes = ['\"A\\r\"'] }");
        assert_eq!(right, Held::default());
        let other = held_of(&asks, "serial = { port = \"/dev/y\", baud = 19200, framing = \"7E1\", writes = ['\"B\\r\"'] }");
        assert_eq!(other.less, [format!("9600 baud, framing 8N1, to write \"A\\r\" (without that {NOT_SAID})")]);
        assert_eq!(other.more, ["to write \"B\\r\""]);
        let rules = |function: u8| {
            format!("modbus = {{ bus = \"b\", servers = [1, 2], allow = [{{ function = {function}, addresses = [\"7\"] }}] }}")
        };
        assert_eq!(held_of(&asks, &rules(4)), Held::default(), "what is read depends on settings");
        assert_eq!(held_of(&asks, &rules(6)).more, ["to write the single register 7"]);
        let text = "name = \"filter\"\nversion = \"1.0.0\"\nlinks = []\n[channels]\nnumeric = 1\n";
        let none = held(&toml::from_str("serial = { port = \"/dev/y\" }").unwrap(), &Manifest::parse(text).unwrap());
        assert_eq!(none.more, ["serial devices at all, which it cannot ask anything of"]);
    }
}
