//! What gateway.toml says of Bluetooth: the radio, and which peripheral an instance may have, and what it may do there.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{At, Instance};

/// `[ble]`
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Ble {
    /// Its name at BlueZ, like "hci0"; none: the first one that is there.
    pub adapter: Option<String>,
    pub pairing: Pairing,
    /// While a peripheral is missing, so long it is looked for...
    pub scan_s: u64,
    /// ...and so long the radio is left to those that are connected.
    pub rest_s: u64,
    /// Another D-Bus than the system's, which DBUS_SYSTEM_BUS_ADDRESS names for a whole process: for tests, which have many.
    #[serde(skip)]
    pub bus: Option<String>,
    /// The gateway's state folder, where it stands how each bond was made.
    #[serde(skip)]
    pub state: Option<PathBuf>,
}

impl Default for Ble {
    fn default() -> Self {
        Self { adapter: None, pairing: Pairing::None, scan_s: 10, rest_s: 5, bus: None, state: None } // most peripherals advertise at least once in two seconds
    }
}

/// The weakest way in which a person may pair a peripheral with this gateway.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "kebab-case")]
pub enum Pairing {
    #[default]
    None,
    /// Nobody looks whether it is the right one.
    JustWorks,
    /// A person compares six digits.
    Compare,
    /// A person types the six digits that the peripheral shows, or has printed on it.
    Passkey,
}

impl Pairing {
    /// Whether a bond that was made in this way counts. Where nobody may pair, what is there already still has somebody's word that it is the
    /// right peripheral: six digits that were compared or typed.
    pub fn counts(self, by: Self) -> bool {
        by >= if self == Self::None { Self::Compare } else { self }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::JustWorks => "just-works",
            Self::Compare => "compare",
            Self::Passkey => "passkey",
        }
    }
}

/// `[instance.NAME.grants.ble]`
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct BleGrant {
    /// The address of the one peripheral; of a bonded one its identity address.
    #[serde(default)]
    pub address: Option<String>,
    /// Any one of several that are alike.
    #[serde(default)]
    pub pool: Option<BlePool>,
    /// Nothing is asked of it, and nothing it says is heard, unless it is bonded with this gateway.
    #[serde(default)]
    pub bonded: bool,
    /// It only broadcasts: it is never connected.
    #[serde(default)]
    pub broadcast: bool,
    /// UUIDs of the services that the plugin may see; a short one has four digits.
    #[serde(default)]
    pub services: Vec<String>,
    /// Of their characteristics only these; none: all.
    #[serde(default)]
    pub characteristics: Vec<String>,
    /// Of what it may see, what it may read; none: everything.
    #[serde(default)]
    pub reads: Option<Vec<String>>,
    /// Of what it may see, what it may subscribe to; none: everything.
    #[serde(default)]
    pub notifies: Option<Vec<String>>,
    /// By characteristic: whole values that may be written, as patterns. Empty: it writes nothing.
    #[serde(default)]
    pub writes: BTreeMap<String, Vec<String>>,
    /// Where it stands, for whoever is refused: file and line.
    #[serde(skip)]
    pub at: At,
}

/// Peripherals that are alike: all that is written must fit.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct BlePool {
    /// One that it advertises.
    #[serde(default)]
    pub service: Option<String>,
    /// The name that it advertises; a * at its end stands for anything.
    #[serde(default)]
    pub name: Option<String>,
    /// The company in its manufacturer data.
    #[serde(default)]
    pub manufacturer: Option<u16>,
}

impl BleGrant {
    /// The path below the instance, what is wrong, what to do.
    pub(super) fn mistake(&self) -> Option<(&'static [&'static str], String, String)> {
        const HERE: &[&str] = &["grants", "ble"];
        let wrong = |path: &'static [&'static str], what: &str, remedy: &str| Some((path, what.to_owned(), remedy.to_owned()));
        match (&self.address, &self.pool) {
            (Some(address), None) if !is_address(address) => {
                let what = format!("\"{address}\" is no address");
                let remedy = "write address = \"C0:98:E5:00:00:01\", six octets, as `wardgate ble scan` shows them";
                Some((&["grants", "ble", "address"], what, remedy.to_owned()))
            }
            (Some(_), None) => None,
            (None, Some(pool)) if pool.service.is_none() && pool.manufacturer.is_none() && pool.name.is_some() => wrong(
                &["grants", "ble", "pool"],
                "whoever is near can advertise a name: by its name alone no peripheral is bound",
                "write address = \"..\" for one peripheral; or add service = \"1808\" or manufacturer = 76 to the pool",
            ),
            (None, Some(pool)) if *pool == BlePool::default() => wrong(
                &["grants", "ble", "pool"],
                "an empty pool is any peripheral at all",
                "write pool = { service = \"1808\", name = \"Meter*\" }",
            ),
            (None, Some(pool)) if pool.service.is_none() && pool.name.as_ref().is_none_or(|name| name.trim_end_matches('*').is_empty()) => {
                wrong(
                    &["grants", "ble", "pool"],
                    "a company alone is no pool: its data is carried by all that it makes, telephones and watches of visitors too",
                    "add service = \"1808\", or the begin of the name that it gives this kind of device, like name = \"Meter*\"",
                )
            }
            (None, Some(_)) => None,
            _ => wrong(
                HERE,
                "a peripheral is bound by its address or out of a pool, by one of the two",
                "write address = \"C0:98:E5:00:00:01\" (`wardgate ble scan` shows them), or pool = { service = \"1808\" }",
            ),
        }
    }
}

impl Instance {
    /// It takes its peripheral out of a pool, so nobody knows whose it is before a person says so.
    pub fn is_of_a_pool(&self) -> bool {
        self.grants.ble.as_ref().is_some_and(|grant| grant.pool.is_some())
    }

    /// As the grant has it: `address` is one peripheral for ever, of a `pool` it may be another each time.
    pub fn ble_binding(&self) -> Option<&'static str> {
        self.grants.ble.as_ref().map(|_| if self.is_of_a_pool() { "pool" } else { "address" })
    }
}

/// Six octets in hexadecimal, with colons between them.
pub fn is_address(text: &str) -> bool {
    let octets: Vec<_> = text.split(':').collect();
    octets.len() == 6 && octets.iter().all(|o| o.len() == 2 && o.bytes().all(|b| b.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    //= PROMISES.md#P221
    #[test]
    fn a_peripheral_is_bound_by_an_address_or_by_what_not_anybody_can_say() {
        let read = |text: &str| toml::from_str::<BleGrant>(text).unwrap().mistake().map(|(_, what, remedy)| format!("{what}. {remedy}"));
        for good in ["address = \"C0:98:e5:00:00:01\"", "pool = { service = \"1808\" }", "pool = { manufacturer = 76, name = \"M*\" }"] {
            assert_eq!(read(good), None, "{good}");
        }
        for (text, says) in [
            ("", "by one of the two"),
            ("address = \"C0:98:E5:00:00:01\"\npool = { service = \"1808\" }", "by one of the two"),
            ("address = \"C0-98-E5-00-00-01\"", "six octets"),
            ("pool = { name = \"Meter 7\" }", "by its name alone no peripheral is bound. write address"),
            ("pool = {}", "any peripheral at all"),
            ("pool = { name = \"*\", manufacturer = 76 }", "a company alone is no pool"),
            ("pool = { manufacturer = 76 }", "a company alone is no pool"),
        ] {
            let why = read(text).unwrap_or_else(|| panic!("{text}"));
            assert!(why.contains(says), "{text}: {why}");
        }
    }

    #[test]
    fn a_plugin_is_told_how_its_peripheral_is_bound() {
        let binding = |grants: &str| toml::from_str::<Instance>(&format!("package = \"p\"\n[grants]\n{grants}")).unwrap().ble_binding();
        assert_eq!(binding("ble = { address = \"C0:98:e5:00:00:01\" }"), Some("address"));
        assert_eq!(binding("ble = { pool = { service = \"1808\" } }"), Some("pool"));
        assert_eq!(binding(""), None);
    }
}
