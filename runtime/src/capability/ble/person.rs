//! What a person does at a terminal: look who is near, pair, list what is bonded, forget it. It speaks to BlueZ directly, beside a gateway that runs.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::agent::{Agent, Outcome, PATH, Question};
use super::bluez::{Bluez, BluezError};
use super::grant::short;
use super::tree::{Device, Tree};
use crate::config::{self, Pairing};

/// How long a peripheral is looked for that is not known yet.
const FIND_S_MAX: u64 = 20; // sleepy ones advertise once in ten
const LOOK_MS: u64 = 500; // between two looks at what BlueZ has found
const POWER_MS_MAX: u64 = 5_000; // an adapter that BlueZ is just starting is busy for two seconds

/// A peripheral, for people.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    pub address: String,
    pub name: String,
    pub rssi_dbm: Option<i16>,
    pub services: Vec<String>,
    pub manufacturers: Vec<u16>,
    pub bonded: bool,
    pub connected: bool,
}

/// Why what a person asked for was not done.
#[derive(Debug, thiserror::Error)]
pub enum PersonError {
    #[error(transparent)]
    Bluez(#[from] BluezError),
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
    #[error("{address} ({name}) was not paired: {why}")]
    Unpaired { address: String, name: String, why: BluezError },
}

impl PersonError {
    pub fn remedy(&self) -> String {
        match self {
            Self::Bluez(why) => why.remedy().into(),
            Self::NotAllowed => "below [ble] write pairing = \"compare\": a person compares six digits, or types them".into(),
            Self::NotFound { .. } => "switch it on, bring it near, and let it be found; `wardgate ble scan` shows who is".into(),
            Self::Unknown { .. } => "`wardgate ble list` shows those that are bonded".into(),
            Self::Several { .. } => "name it by its address".into(),
            Self::Weak { by, .. } => format!("if that is enough for this ward, below [ble] write pairing = \"{}\"", by.name()),
            Self::Unpaired { .. } => "let it pair, as its manual says (often a button), and try again".into(),
        }
    }
}

/// A person's desk at BlueZ.
pub struct Person {
    bluez: Bluez,
    adapter: String,
    settings: config::Ble,
}

impl Person {
    pub async fn at(settings: &config::Ble) -> Result<Self, PersonError> {
        let (bluez, stream) = Bluez::open(settings.bus.as_deref()).await?;
        drop(stream); // nobody would read it
        let mut this = Self { bluez, adapter: String::new(), settings: settings.clone() };
        let tree = this.tree().await?;
        let found = tree.adapter(settings.adapter.as_deref()).map(|(path, _)| path.to_owned());
        let adapter = found.ok_or_else(|| BluezError::NoAdapter(settings.adapter.clone()))?;
        let until = Instant::now() + Duration::from_millis(POWER_MS_MAX);
        while !this.tree().await?.adapter(settings.adapter.as_deref()).is_some_and(|(_, a)| a.powered) {
            match this.bluez.power(&adapter).await {
                Ok(()) if Instant::now() < until => sleep(Duration::from_millis(LOOK_MS)).await,
                Ok(()) => return Err(BluezError::NoAdapter(settings.adapter.clone()).into()),
                Err(why) if why.is("Busy") && Instant::now() < until => sleep(Duration::from_millis(LOOK_MS)).await,
                Err(why) => return Err(why.into()),
            }
        }
        this.adapter = adapter;
        Ok(this)
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
        let mut seen: Vec<_> = tree.devices().map(|(_, d)| d).filter(|d| d.rssi.is_some() || d.connected).map(seen).collect();
        seen.sort_by(|a, b| (b.rssi_dbm, &a.address).cmp(&(a.rssi_dbm, &b.address)));
        Ok(seen)
    }

    /// Those that are bonded.
    pub async fn list(&self) -> Result<Vec<Seen>, PersonError> {
        Ok(self.tree().await?.devices().map(|(_, d)| d).filter(|d| d.paired).map(seen).collect())
    }

    /// By its address, or by the name that it advertises. Whoever advertises an address as its name is not that one.
    fn named(tree: &Tree, target: &str) -> Result<Option<(String, Device)>, PersonError> {
        let by_name = !config::is_address(target);
        let is = |d: &Device| d.address.eq_ignore_ascii_case(target) || (by_name && d.name == target);
        let found: Vec<_> = tree.devices().filter(|(_, d)| is(d)).map(|(path, d)| (path.to_owned(), d.clone())).collect();
        if found.len() > 1 {
            let addresses = found.into_iter().map(|(_, d)| d.address).collect();
            return Err(PersonError::Several { target: target.to_owned(), addresses });
        }
        Ok(found.into_iter().next())
    }

    /// By its address at once; by its name, where an address was named too, only when that does not come: it hides it, perhaps.
    async fn find(&self, target: &str, address: Option<&str>) -> Result<(String, Device), PersonError> {
        let first = address.unwrap_or(target);
        if let Some(found) = Self::named(&self.tree().await?, first)? {
            return Ok(found);
        }
        self.bluez.discover(&self.adapter, false).await?;
        let begun = Instant::now();
        let (until, patient) = (begun + Duration::from_secs(FIND_S_MAX), begun + Duration::from_secs(FIND_S_MAX / 4));
        let found = loop {
            let tree = self.tree().await?;
            let by_name = if Instant::now() >= patient { Self::named(&tree, target)? } else { None };
            if let Some(found) = Self::named(&tree, first)?.or(by_name) {
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
    /// `address`: where the target is an instance, the one that it is bound to.
    pub async fn pair(
        &self,
        target: &str,
        address: Option<&str>,
        ask: Arc<dyn Fn(Question) -> Option<u32> + Send + Sync>,
    ) -> Result<(Seen, Pairing), PersonError> {
        let least = self.settings.pairing;
        if least == Pairing::None {
            return Err(PersonError::NotAllowed);
        }
        let (path, device) = self.find(target, address).await?;
        let (address, name) = (device.address.clone(), device.name.clone());
        let agent = Agent::new(path.clone(), name.clone(), least, ask);
        let outcome = agent.outcome();
        let served = self.bluez.0.object_server().at(PATH, agent).await;
        served.map_err(|e| BluezError::Bus(e.to_string()))?;
        self.bluez.register_agent(PATH, "KeyboardDisplay").await?;
        let paired = self.bluez.pair(&path).await;
        let Outcome { by, refused } = *outcome.lock().expect("no holder panics");
        match paired {
            Ok(()) if by < least => {
                self.bluez.remove(&self.adapter, &path).await?;
                return Err(PersonError::Weak { address, name, by, least });
            }
            Ok(()) => {}
            Err(why) => {
                return Err(match refused {
                    Some(by) => PersonError::Weak { address, name, by, least },
                    None => PersonError::Unpaired { address, name, why },
                });
            }
        }
        self.bluez.trust(&path).await?;
        // of one with private addresses the identity is known only now
        let now = self.tree().await?.device(&path).cloned().unwrap_or(device);
        Ok((seen(&now), by))
    }

    /// The bond is gone from this side; the peripheral may want to forget it too.
    pub async fn forget(&self, target: &str) -> Result<Seen, PersonError> {
        let found = Self::named(&self.tree().await?, target)?;
        let (path, device) = found.ok_or_else(|| PersonError::Unknown { target: target.to_owned() })?;
        self.bluez.remove(&self.adapter, &path).await?;
        Ok(seen(&device))
    }
}

fn seen(d: &Device) -> Seen {
    Seen {
        address: d.address.clone(),
        name: d.name.clone(),
        rssi_dbm: d.rssi,
        services: d.services.iter().map(|id| short(*id)).collect(),
        manufacturers: d.manufacturer.iter().map(|(company, _)| *company).collect(),
        bonded: d.paired,
        connected: d.connected,
    }
}
