//! What verbs need that judge packages by a gateway's own configuration and memory, whether that gateway runs at the moment or not.

use std::path::Path;

use crate::audit::{Audit, Entry, What};
use crate::config::{Config, IMAGE_PROFILE};
use crate::fault::{Fault, Guilty, remedy_for};
use crate::gateway::{self, Judge, Occasion};
use crate::keys::{KeyError, PublicKey};
use crate::plugin::{
    Admission, DeviceKey, InOthersHands, Known, Memory, Package, RECALL, Remembered, Seen, Withheld, gateways_user, in_others_hands,
};

pub struct Site {
    pub config: Config,
    pub memory: Memory,
    pub audit: Audit,
    pub known: Known,
    pub admission: Admission,
    /// Why what was seen here is not known for sure, where it is not.
    pub blind: Option<String>,
}

impl Site {
    /// Where the memory is damaged, what the audit log proves.
    pub fn look(file: &Path) -> Result<Self, Fault> {
        let config = Config::load(file)?;
        let key = gateway::device_key(&config)?;
        Self::of(config, key)
    }

    /// For verbs that only look: nothing is written, and nothing need be there yet. Beside it, why what is remembered could not be read.
    pub fn as_it_is(config: Config) -> Result<(Self, Option<String>), Fault> {
        match gateway::device_key_as_it_is(&config) {
            Ok(key) => Ok((Self::of(config, key)?, None)),
            Err(fault) => {
                let nobody = DeviceKey::unknown(gateway::random()?);
                let doubt = format!("what ran here before is not known to whoever runs this as this user: {}", fault.what);
                let mut site = Self::of(config, nobody)?;
                (site.known.memory, site.blind) = (Remembered::default(), None);
                Ok((site, Some(doubt)))
            }
        }
    }

    fn of(config: Config, key: DeviceKey) -> Result<Self, Fault> {
        let state = config.gateway.state.clone();
        let (memory, audit) = gateway::kept(&state, &key);
        let (remembered, blind) = gateway::recollect(&memory, &audit);
        let site_key = config.trust.site_key.as_deref().map(PublicKey::read).transpose().map_err(|e| wrong_key(&e))?;
        let wall_s = gateway::audit_moment().wall_ns.map(|ns| ns / 1_000_000_000);
        let fleet = match &config.trust.folder {
            Some(folder) => Seen::look(folder, remembered.fleet.as_ref(), wall_s, remembered.newest_s),
            None => Seen::default(),
        };
        let admission = Admission::with(&config, &fleet);
        let gateway = config.gateway.id.clone();
        Ok(Self { known: Known { fleet, memory: remembered, site_key, state, gateway }, config, memory, audit, admission, blind })
    }

    /// As this gateway judges at its start.
    pub fn judge(&self) -> Judge {
        Judge::new(&self.config, Occasion::Start, self.known.clone(), self.blind.clone(), self.hands())
    }

    /// What keeps a package from running here, as the gateway itself judges at a start: as each instance that ran one of this name; or, where none did,
    /// as a new one, whose name is empty.
    pub fn withheld(&self, package: &Package) -> Vec<(String, Withheld)> {
        let judge = self.judge();
        let instances = self.instances(&judge, package);
        instances.into_iter().filter_map(|instance| Some((instance.clone(), self.withheld_as(&judge, &instance, package)?))).collect()
    }

    fn instances(&self, judge: &Judge, package: &Package) -> Vec<String> {
        let name = package.signed.as_ref().map_or_else(String::new, |by| format!("{}/{}", by.vendor, package.manifest.name));
        let mut instances = judge.instances_of(&self.config, &name);
        if instances.is_empty() {
            instances.push(String::new());
        }
        instances
    }

    /// What of a package was revoked, whatever the site does about that.
    pub fn revoked(&self, package: &Package) -> Option<Withheld> {
        self.known.revoked(&package.manifest.name, package.signed.as_ref()?)
    }

    /// As which instances it runs on although it was revoked, as `on_revoked` says.
    pub fn runs_revoked(&self, package: &Package) -> Vec<(String, Withheld)> {
        let Some(why) = self.revoked(package) else { return Vec::new() };
        let judge = self.judge();
        let runs = |instance: &String| judge.sight(&self.config, instance, package, |_| false).is_ok();
        self.instances(&judge, package).into_iter().filter(runs).map(|instance| (instance, why.clone())).collect()
    }

    /// The same as one instance.
    pub fn withheld_as(&self, judge: &Judge, instance: &str, package: &Package) -> Option<Withheld> {
        Some(judge.sight(&self.config, instance, package, |_| false).err()?.why)
    }

    fn hands(&self) -> Option<InOthersHands> {
        let user = gateways_user(self.config.file(), &self.config.gateway.state);
        in_others_hands(&self.config.trust, &self.config.gateway.state, user).into_iter().next()
    }

    pub fn open(file: &Path) -> Result<Self, Fault> {
        let site = Self::look(file)?;
        match &site.blind {
            Some(why) => Err(Fault::new(Guilty::Store, why, RECALL)),
            None => Ok(site),
        }
    }

    /// For verbs that change what may run here: by a gateway.toml that the gateway itself would take, and by no other. `what`: the verb.
    pub fn vouched(self, what: &str) -> Result<Self, Fault> {
        let before = self.remembered().site_key.as_deref().and_then(PublicKey::of_id);
        let good = self.config.held_to(Path::new(IMAGE_PROFILE)).map_err(Fault::from);
        let in_good_hands = || self.hands().map_or(Ok(()), |one| Err(Fault::new(Guilty::Configuration, &one, one.remedy())));
        if let Err(fault) = good.and_then(|()| gateway::vouched(&self.config, before)).and_then(|()| in_good_hands()) {
            self.record(Entry::new(What::Refuse, who(), [("what", &what), ("why", &fault.what)]))?;
            return Err(fault);
        }
        Ok(self)
    }

    pub fn remembered(&self) -> &Remembered {
        &self.known.memory
    }

    /// On flash before the verb says that it is done.
    pub fn record(&self, entry: Entry) -> Result<u64, Fault> {
        self.audit.append(entry, gateway::audit_moment()).map_err(|e| {
            let what = format!("the audit log in {} cannot be written: {e}", self.config.gateway.state.display());
            let room = "the state folder must be writable, and its disk must have room; what is not written down is not done";
            Fault::new(Guilty::Store, what, remedy_for(&e, room))
        })
    }
}

/// By which the audit log of this gateway is signed.
pub fn device(config: &Config) -> Result<PublicKey, Fault> {
    Ok(gateway::device_key(config)?.signer().public())
}

/// Who gives the order, for the log.
pub fn who() -> String {
    format!("uid {}", rustix::process::getuid().as_raw())
}

pub fn wrong_key(why: &KeyError) -> Fault {
    Fault::new(Guilty::Plugin, why, why.remedy())
}
