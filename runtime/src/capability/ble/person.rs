//! What a person does at a terminal: look who is near, pair, list what is bonded, forget it. It speaks to BlueZ directly, beside a gateway that runs.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::agent::{Agent, Ask, Outcome, PATH, Said};
use super::bluez::{Bluez, BluezError};
use super::bonds::Bonds;
use super::grant::{Grant, short};
use super::tree::{AddressKind, Device, Tree};
use crate::config::{self, Pairing};

/// How long a peripheral is looked for that is not known yet.
const FIND_S_MAX: u64 = 20; // sleepy ones advertise once in ten
const LOOK_MS: u64 = 500; // between two looks at what BlueZ has found
/// In the place of a name.
const NO_NAME: &str = "it says no name";
const POWER_MS_MAX: u64 = 5_000; // an adapter that BlueZ is just starting is busy for two seconds

/// Between the answer that it is paired and the word that its keys are kept.
const KEEP_MS_MAX: u64 = 2_000; // they come in one go

/// A peripheral, for people.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    pub address: String,
    pub address_kind: AddressKind,
    pub name: String,
    pub rssi_dbm: Option<i16>,
    pub services: Vec<String>,
    pub manufacturers: Vec<u16>,
    pub bonded: bool,
    /// None: not by `wardgate ble pair`.
    pub by: Option<Pairing>,
    /// How it was bonded could not be read.
    pub unread: bool,
    pub connected: bool,
    device: Device,
}

impl Seen {
    /// Its name, or that it says none.
    pub fn called(&self) -> &str {
        if self.name.is_empty() { NO_NAME } else { &self.name }
    }

    /// It may be the peripheral of whoever has this grant.
    pub fn fits(&self, grant: &Grant) -> bool {
        grant.fits(&self.device)
    }
}

/// A peripheral that is paired, for people.
#[derive(Clone, Debug, PartialEq)]
pub struct Paired {
    pub seen: Seen,
    pub by: Pairing,
    /// It was so before.
    pub already: bool,
}

/// Why what a person asked for was not done.
#[derive(Debug, thiserror::Error)]
pub enum PersonError {
    #[error(transparent)]
    Bluez(#[from] BluezError),
    #[error("the adapter {adapter} is switched off")]
    Off { adapter: String },
    #[error("[ble] pairing = \"none\": nobody may pair a peripheral with this gateway")]
    NotAllowed,
    #[error("{target} is not near: it was looked for during {FIND_S_MAX} s")]
    NotFound { target: String },
    #[error("BlueZ knows no {target}")]
    Unknown { target: String },
    #[error("{} are called {target}", addresses.join(" and "))]
    Several { target: String, addresses: Vec<String> },
    #[error("{address} ({name}) would be paired by {}, and [ble] pairing = \"{}\" asks for more: it is not paired", by.name(), least.name())]
    Weak { address: String, name: String, by: Pairing, least: Pairing },
    #[error(
        "{address} ({name}) was paired by {}, and [ble] pairing = \"{}\" asks for more: this side has forgotten it again, and the peripheral keeps its half of the bond",
        by.name(),
        least.name()
    )]
    Undone { address: String, name: String, by: Pairing, least: Pairing },
    #[error("{address} ({name}) is bonded already, {}, and [ble] pairing = \"{}\" asks for it by `wardgate ble pair`: its bond is not used", how(*by), least.name())]
    Older { address: String, name: String, by: Option<Pairing>, least: Pairing },
    #[error("{address} ({name}) was paired and is not {bound}, which gateway.toml names: this side has forgotten it again")]
    Another { address: String, name: String, bound: String },
    #[error("{address} ({name}) was paired and keeps no bond: it would be a stranger again after the link")]
    Unkept { address: String, name: String },
    #[error("instance \"{instance}\" takes its peripheral out of a pool: it names none that could be meant")]
    OfAPool { instance: String },
    #[error("instance \"{instance}\" has no Bluetooth peripheral: its grants name none")]
    NoPeripheral { instance: String },
    #[error("{address} ({name}) is not bonded with this gateway: there is nothing to forget")]
    Stranger { address: String, name: String },
    #[error("how peripherals were bonded cannot be kept in bonds.json of the state folder: {0}")]
    Bonds(#[from] std::io::Error),
    #[error("how peripherals were bonded cannot be read from bonds.json of the state folder: {0}")]
    Unread(std::io::Error),
    #[error("{address} ({name}) was not paired: {why}")]
    Unpaired { address: String, name: String, why: Unpaired },
}

/// Why BlueZ did not pair a peripheral.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Unpaired {
    #[error("the digits were not the right ones")]
    WrongDigits,
    #[error("no six digits were typed")]
    NoDigits,
    #[error("you said no")]
    No,
    #[error("nobody is here to be asked: what would be typed has ended")]
    Nobody,
    #[error("nobody answered here in time")]
    NoAnswer,
    #[error("it does not want to")]
    Refused,
    #[error("it is out of reach, or switched off")]
    OutOfReach,
    #[error("it does not answer")]
    Silent,
    #[error("BlueZ is connecting or pairing it already, for this gateway or another program")]
    Busy,
    #[error(transparent)]
    Bluez(BluezError),
}

impl Unpaired {
    fn of(why: BluezError, said: Said) -> Self {
        let authentication = ["AuthenticationFailed", "AuthenticationRejected", "AuthenticationCanceled", "AuthenticationTimeout"];
        // the link was encrypted, and its services were known before it was paired
        let refused =
            authentication.iter().any(|name| why.is(name)) || matches!(&why, BluezError::Refused { why, .. } if why == "Not paired");
        let silent = matches!(why, BluezError::Silent { .. }) || why.is("AuthenticationTimeout");
        match said {
            Said::Nothing if refused || silent => Self::NoAnswer,
            _ if silent => Self::Silent,
            Said::Digits if refused => Self::WrongDigits,
            Said::Blank if refused => Self::NoDigits,
            Said::No if refused => Self::No,
            Said::Nobody if refused => Self::Nobody,
            _ if refused => Self::Refused,
            _ if why.is_out_of_reach() => Self::OutOfReach,
            _ if why.is_busy() => Self::Busy,
            _ => Self::Bluez(why),
        }
    }

    fn remedy(&self) -> &'static str {
        match self {
            Self::WrongDigits => {
                "pair it again, and type the digits that it shows then: they may be others; some have them printed on them"
            }
            Self::NoDigits => "pair it again, and type the six digits that it shows, or has printed on it",
            Self::No => {
                "if the numbers were not the same, another device may have answered: let the right one alone be near, and pair it again"
            }
            Self::Nobody => "pair it at a terminal, where a person sees what it shows",
            Self::NoAnswer => "pair it again, with its display in sight: it waits for half a minute",
            Self::Refused => {
                "let it pair, as its manual says (often a button), and let it forget whom it was paired with; then pair it again"
            }
            Self::OutOfReach => "switch it on, bring it near, and let it be found, as its manual says (often a button); then pair it again",
            Self::Silent => "see that it is near and connected to nothing else, like a telephone; switch it off and on, and pair it again",
            Self::Busy => "pair it again in half a minute; where it stays so, switch it off and on",
            Self::Bluez(why) => why.remedy(),
        }
    }
}

impl PersonError {
    pub fn remedy(&self) -> String {
        match self {
            Self::Bluez(why) => why.remedy().into(),
            Self::Off { .. } => {
                "`bluetoothctl power on`; where that is refused, `rfkill unblock bluetooth`, or the switch of this machine".into()
            }
            Self::NotAllowed => "below [ble] write pairing = \"compare\": a person compares six digits, or types them".into(),
            Self::NotFound { .. } => {
                "switch it on, bring it near, and let it be found; `wardgate ble scan` shows who is. One that hides its address is \
                                      paired by the one that this shows"
                    .into()
            }
            Self::Unknown { .. } => "`wardgate ble list` shows those that are bonded".into(),
            Self::Several { .. } => "name it by its address".into(),
            Self::Undone { by, .. } => {
                format!(
                    "let the peripheral forget this gateway, as its manual says; if {0} is enough for this ward, below [ble] write pairing = \"{0}\"",
                    by.name()
                )
            }
            Self::Older { address, .. } | Self::Unkept { address, .. } => {
                format!("`wardgate ble forget {address}`, let the peripheral forget it too, then `wardgate ble pair {address}`")
            }
            Self::Another { .. } => {
                "bring the right one near and this one away; let this one forget the gateway, as its manual says".into()
            }
            Self::NoPeripheral { .. } => "name another instance, or the peripheral by its address, as `wardgate ble scan` shows it".into(),
            Self::OfAPool { .. } => "name it by its address, as `wardgate ble scan` shows it".into(),
            Self::Stranger { .. } => "`wardgate ble list` shows those that are bonded".into(),
            Self::Bonds(_) | Self::Unread(_) => {
                "run this as the gateway's user or as root; where that file is damaged, take it away and pair anew".into()
            }
            Self::Weak { by, .. } => format!("if that is enough for this ward, below [ble] write pairing = \"{}\"", by.name()),
            Self::Unpaired { why, .. } => why.remedy().into(),
        }
    }
}

/// A person's desk at BlueZ.
pub struct Person {
    bluez: Bluez,
    /// Its path at BlueZ, and its own address.
    adapter: String,
    address: String,
    settings: config::Ble,
    bonds: Bonds,
}

impl Person {
    /// At the adapter that the gateway uses, as it is: nothing is switched on for it.
    pub async fn looking(settings: &config::Ble) -> Result<Self, PersonError> {
        let (bluez, stream) = Bluez::open(settings.bus.as_deref()).await?;
        drop(stream); // nobody would read it
        Self::of(bluez, settings).await
    }

    /// The same, and the adapter is switched on.
    pub async fn at(settings: &config::Ble) -> Result<Self, PersonError> {
        let this = Self::looking(settings).await?;
        let until = Instant::now() + Duration::from_millis(POWER_MS_MAX);
        while this.is_off().await? {
            match this.bluez.power(&this.adapter).await {
                Ok(()) if Instant::now() < until => sleep(Duration::from_millis(LOOK_MS)).await,
                Ok(()) => return Err(this.off()),
                Err(why) if why.is("Busy") && Instant::now() < until => sleep(Duration::from_millis(LOOK_MS)).await,
                Err(why) if why.is("Blocked") => return Err(this.off()),
                Err(why) => return Err(why.into()),
            }
        }
        Ok(this)
    }

    /// At an adapter that is switched on already; BlueZ is not started for it either.
    pub async fn beside(settings: &config::Ble) -> Result<Self, PersonError> {
        let (bluez, stream) = Bluez::open(settings.bus.as_deref()).await?;
        drop(stream); // as above
        bluez.owner().await?; // whoever calls org.bluez itself may have the bus start it
        let this = Self::of(bluez, settings).await?;
        if this.is_off().await? { Err(this.off()) } else { Ok(this) }
    }

    async fn of(bluez: Bluez, settings: &config::Ble) -> Result<Self, PersonError> {
        let bonds = Bonds::of(settings.state.as_deref());
        let mut this = Self { bluez, adapter: String::new(), address: String::new(), settings: settings.clone(), bonds };
        let tree = this.tree().await?;
        let found = tree.adapter(settings.adapter.as_deref()).map(|(path, _)| path.to_owned());
        this.adapter = found.ok_or_else(|| BluezError::NoAdapter(settings.adapter.clone()))?;
        this.address = tree.address_of(&this.adapter);
        Ok(this)
    }

    async fn is_off(&self) -> Result<bool, BluezError> {
        Ok(!self.tree().await?.adapter(Some(self.adapter())).is_some_and(|(_, adapter)| adapter.powered))
    }

    fn off(&self) -> PersonError {
        PersonError::Off { adapter: self.adapter().to_owned() }
    }

    /// As BlueZ calls it, like hci0.
    pub fn adapter(&self) -> &str {
        name_of(&self.adapter)
    }

    /// Why nobody can say how peripherals were bonded.
    pub fn unread(&self) -> Option<PersonError> {
        self.bonds.how(&self.address, "", false).err().map(PersonError::Unread)
    }

    async fn tree(&self) -> Result<Tree, BluezError> {
        let mut tree = Tree::default();
        tree.fill(self.bluez.objects().await?);
        Ok(tree)
    }

    /// Who is near, the strongest first.
    pub async fn scan(&self, seconds: u64) -> Result<Vec<Seen>, PersonError> {
        self.bluez.discover(&self.adapter, false).await?;
        sleep(Duration::from_secs(seconds)).await;
        let tree = self.tree().await?;
        let _ = self.bluez.rest(&self.adapter).await; // it ends with this connection anyway
        let mut seen: Vec<_> =
            self.heard(&tree).map(|(_, d)| d).filter(|d| d.rssi.is_some() || d.connected).map(|d| self.seen(&tree, d)).collect();
        seen.sort_by(|a, b| (b.rssi_dbm, &a.address).cmp(&(a.rssi_dbm, &b.address)));
        Ok(seen)
    }

    /// Those that are bonded.
    pub async fn list(&self) -> Result<Vec<Seen>, PersonError> {
        let tree = self.tree().await?;
        Ok(self.heard(&tree).map(|(_, d)| d).filter(|d| d.bonded).map(|d| self.seen(&tree, d)).collect())
    }

    /// Those of this desk's adapter: BlueZ has a device once for each adapter that heard it, and a bond is of one adapter.
    fn heard<'a>(&self, tree: &'a Tree) -> impl Iterator<Item = (&'a str, &'a Device)> {
        tree.devices().filter(|(_, d)| d.adapter == self.adapter)
    }

    /// By its address, or by the name that it advertises. Whoever advertises an address as its name is not that one.
    fn named(&self, tree: &Tree, target: &str) -> Result<Option<(String, Device)>, PersonError> {
        let by_name = !config::is_address(target);
        let is = |d: &Device| d.address.eq_ignore_ascii_case(target) || (by_name && d.name == target);
        let found: Vec<_> = self.heard(tree).filter(|(_, d)| is(d)).map(|(path, d)| (path.to_owned(), d.clone())).collect();
        if found.len() > 1 {
            let addresses = found.into_iter().map(|(_, d)| d.address).collect();
            return Err(PersonError::Several { target: target.to_owned(), addresses });
        }
        Ok(found.into_iter().next())
    }

    async fn find(&self, target: &str) -> Result<(String, Device), PersonError> {
        if let Some(found) = self.named(&self.tree().await?, target)? {
            return Ok(found);
        }
        self.bluez.discover(&self.adapter, false).await?;
        let until = Instant::now() + Duration::from_secs(FIND_S_MAX);
        let found = loop {
            if let Some(found) = self.named(&self.tree().await?, target)? {
                break Ok(found);
            }
            if Instant::now() >= until {
                break Err(PersonError::NotFound { target: target.to_owned() });
            }
            sleep(Duration::from_millis(LOOK_MS)).await;
        };
        let _ = self.bluez.rest(&self.adapter).await; // as above
        found
    }

    /// What it is now, and how it was paired. `ask` is asked on a thread of its own and may wait for a person.
    /// `address`: where the target is an instance, the one that it is bound to; whoever advertises that instance's name is not meant.
    pub async fn pair(&self, target: &str, address: Option<&str>, ask: Arc<Ask>) -> Result<Paired, PersonError> {
        let least = self.settings.pairing;
        if least == Pairing::None {
            return Err(PersonError::NotAllowed);
        }
        let (path, device) = self.find(address.unwrap_or(target)).await?;
        if device.bonded {
            return self.already(&device).await;
        }
        self.clear(&self.tree().await?, &device.address)?;
        self.bluez.let_pair(&self.adapter, true).await?;
        let paired = self.begin(&path, &device, ask).await;
        let shut = self.bluez.let_pair(&self.adapter, false).await;
        let by = match paired? {
            Some(by) => by,
            None => return self.already(&device).await,
        };
        shut?;
        // of one with private addresses the identity is known only now
        let until = Instant::now() + Duration::from_millis(KEEP_MS_MAX);
        let (tree, now) = loop {
            let tree = self.tree().await?;
            match tree.device(&path).cloned().unwrap_or_else(|| device.clone()) {
                now if now.bonded || Instant::now() >= until => break (tree, now),
                _ => sleep(Duration::from_millis(LOOK_MS)).await,
            }
        };
        let (name, found) = (called(&now), now.address.clone());
        if let Some(bound) = address.filter(|bound| !bound.eq_ignore_ascii_case(&now.address)) {
            self.bluez.remove(&self.adapter, &path).await?;
            return Err(PersonError::Another { address: found, name, bound: bound.to_owned() });
        }
        if by < least {
            self.bluez.remove(&self.adapter, &path).await?;
            return Err(PersonError::Undone { address: found, name, by, least });
        }
        if !now.bonded {
            return Err(PersonError::Unkept { address: found, name });
        }
        // until this is written the bond counts for nothing
        self.bonds.made(&self.address, &now.address, by)?;
        self.bluez.trust(&path).await?;
        Ok(Paired { seen: self.seen(&tree, &now), by, already: false })
    }

    /// How it was paired; None: it was paired before.
    async fn begin(&self, path: &str, device: &Device, ask: Arc<Ask>) -> Result<Option<Pairing>, PersonError> {
        let (least, address, name) = (self.settings.pairing, device.address.clone(), called(device));
        let agent = Agent::new(path.to_owned(), name.clone(), least, ask);
        let outcome = agent.outcome();
        let served = self.bluez.0.object_server().at(PATH, agent).await;
        served.map_err(|e| BluezError::Bus(e.to_string()))?;
        self.bluez.register_agent(PATH, "KeyboardDisplay").await?;
        let paired = self.bluez.pair(path).await;
        let Outcome { by, refused, said } = *outcome.lock().expect("no holder panics");
        match (paired, refused) {
            (Ok(()), _) => Ok(Some(by)),
            (Err(why), _) if why.is("AlreadyExists") => Ok(None),
            (Err(_), Some(by)) => Err(PersonError::Weak { address, name, by, least }),
            (Err(why), None) => {
                tracing::debug!(%why, "pairing");
                Err(PersonError::Unpaired { address, name, why: Unpaired::of(why, said) })
            }
        }
    }

    async fn already(&self, device: &Device) -> Result<Paired, PersonError> {
        let (least, tree) = (self.settings.pairing, self.tree().await?);
        match self.bonds.settled(&self.address, &device.address, tree.bonded_by(&device.address).len() == 1)? {
            Some(by) if least.counts(by) => Ok(Paired { seen: self.seen(&tree, device), by, already: true }),
            by => Err(PersonError::Older { address: device.address.clone(), name: called(device), by, least }),
        }
    }

    /// Of a peripheral that has no bond here, before it is paired: nothing vouches for a bond that is made from here on, and another adapter's
    /// bond keeps what is known of it.
    fn clear(&self, tree: &Tree, address: &str) -> Result<(), PersonError> {
        match tree.bonded_by(address)[..] {
            [] => drop(self.bonds.forget(&self.address, address)?), // of a bond that is no more
            [other] => {
                self.bonds.settle(&tree.address_of(other), address)?;
                self.bonds.forget_here(&self.address, address)?;
            }
            _ => self.bonds.forget_here(&self.address, address)?,
        }
        Ok(())
    }

    /// The bond is gone from this side; the peripheral may want to forget it too. One that is not bonded keeps its link.
    pub async fn forget(&self, target: &str) -> Result<Seen, PersonError> {
        let tree = self.tree().await?;
        let Some((path, device)) = self.named(&tree, target)? else {
            return match self.bonds.forget(&self.address, target)? {
                true => Ok(Seen { address: target.to_ascii_uppercase(), ..Seen::default() }), // BlueZ has forgotten it already
                false => Err(PersonError::Unknown { target: target.to_owned() }),
            };
        };
        let seen = self.seen(&tree, &device);
        let kept = self.bonds.forget(&self.address, &device.address)?;
        if !device.bonded && !device.paired {
            let stranger = PersonError::Stranger { address: device.address.clone(), name: called(&device) };
            return if kept { Ok(seen) } else { Err(stranger) };
        }
        self.bluez.remove(&self.adapter, &path).await?;
        Ok(seen)
    }

    fn seen(&self, tree: &Tree, device: &Device) -> Seen {
        let alone = tree.bonded_by(&device.address).len() == 1;
        seen_by(device, self.bonds.how(&self.address, &device.address, alone))
    }
}

fn name_of(adapter: &str) -> &str {
    adapter.rsplit('/').next().unwrap_or(adapter)
}

fn called(device: &Device) -> String {
    seen(device).called().to_owned()
}

fn how(by: Option<Pairing>) -> String {
    by.map_or("nobody knows how".to_owned(), |by| format!("by {}", by.name()))
}

fn seen_by(device: &Device, made: std::io::Result<Option<Pairing>>) -> Seen {
    match made {
        Ok(by) => Seen { by: by.filter(|_| device.bonded), ..seen(device) },
        Err(_) => Seen { unread: device.bonded, ..seen(device) },
    }
}

fn seen(d: &Device) -> Seen {
    Seen {
        address: d.address.clone(),
        address_kind: d.address_kind(),
        name: d.name.clone(),
        rssi_dbm: d.rssi,
        services: d.services.iter().map(|id| short(*id)).collect(),
        manufacturers: d.manufacturer.iter().map(|(company, _)| *company).collect(),
        bonded: d.bonded,
        by: None,
        unread: false,
        connected: d.connected,
        device: d.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(name: &str, why: &str) -> BluezError {
        BluezError::Refused { asked: "Pair", name: format!("org.bluez.Error.{name}"), why: why.into() }
    }

    /// A file that nobody can read says of no bond that others made it.
    //= PROMISES.md#P324
    #[test]
    fn how_it_was_bonded_is_unknown_where_that_cannot_be_read() {
        let folder = std::env::temp_dir().join(format!("wardgate-person-unread-{}", std::process::id()));
        let (bonds, adapter, belt) = (Bonds::of(Some(&folder)), "02:00:00:00:00:01", "F0:00:00:00:00:02");
        let bonded = Device { address: belt.into(), bonded: true, ..Device::default() };
        bonds.made(adapter, belt, Pairing::Compare).unwrap();
        let seen = |device: &Device| {
            let seen = seen_by(device, bonds.how(adapter, belt, true));
            (seen.by, seen.unread)
        };
        assert_eq!(seen(&bonded), (Some(Pairing::Compare), false));
        std::fs::write(folder.join("bonds.json"), b"{\"02:00").unwrap();
        assert_eq!((seen(&bonded), seen(&Device::default())), ((None, true), (None, false)));
        let why = PersonError::Unread(bonds.how(adapter, "", false).unwrap_err());
        assert!(why.to_string().starts_with("how peripherals were bonded cannot be read from bonds.json"), "{why}");
        assert!(why.remedy().contains("as root") && why.remedy().contains("damaged"));
        std::fs::remove_dir_all(&folder).unwrap();
    }

    //= PROMISES.md#P264
    #[test]
    fn why_it_was_not_paired_is_told_by_what_the_person_said_and_what_the_air_did() {
        let silent = BluezError::Silent { asked: "Pair", within_s: 60 };
        let failed = refused("AuthenticationFailed", "Authentication Failed");
        let rejected = refused("AuthenticationRejected", "Authentication Rejected");
        let away = refused("Failed", "le-connection-abort-by-local");
        for (why, said, is) in [
            (&failed, Said::Digits, Unpaired::WrongDigits),
            (&rejected, Said::Blank, Unpaired::NoDigits),
            (&rejected, Said::No, Unpaired::No),
            (&failed, Said::No, Unpaired::No),
            (&refused("AuthenticationCanceled", ""), Said::Nothing, Unpaired::NoAnswer),
            (&silent, Said::Nothing, Unpaired::NoAnswer),
            (&failed, Said::Unasked, Unpaired::Refused),
            (&rejected, Said::Yes, Unpaired::Refused),
            (&away, Said::Unasked, Unpaired::OutOfReach),
            (&away, Said::Nothing, Unpaired::OutOfReach),
            (&refused("ConnectionAttemptFailed", "Page Timeout"), Said::Unasked, Unpaired::OutOfReach),
            (&refused("Failed", "Software caused connection abort"), Said::Unasked, Unpaired::OutOfReach),
            (&refused("Failed", "Not paired"), Said::Unasked, Unpaired::Refused),
            (&refused("InProgress", "In Progress"), Said::Unasked, Unpaired::Busy),
            (&refused("Failed", "Operation already in progress"), Said::Unasked, Unpaired::Busy),
            (&silent, Said::Unasked, Unpaired::Silent),
            (&refused("AuthenticationTimeout", ""), Said::Digits, Unpaired::Silent),
            (&refused("NotReady", "Resource Not Ready"), Said::Unasked, Unpaired::Bluez(refused("NotReady", "Resource Not Ready"))),
        ] {
            let told = Unpaired::of(why.clone(), said);
            assert_eq!(told, is, "{why} after {said:?}");
            assert!(matches!(told, Unpaired::Bluez(_)) || !told.to_string().contains("org.bluez"), "{told}");
        }
    }
}
