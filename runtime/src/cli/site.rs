//! What verbs need that judge packages by a gateway's own configuration and memory, whether that gateway runs at the moment or not.

use std::path::Path;

use crate::audit::{Audit, Entry};
use crate::config::Config;
use crate::fault::{Fault, Guilty};
use crate::gateway;
use crate::keys::{KeyError, PublicKey};
use crate::plugin::{Admission, DeviceKey, Known, Memory, Remembered, Seen};

pub struct Site {
    pub config: Config,
    pub memory: Memory,
    pub audit: Audit,
    pub known: Known,
    pub admission: Admission,
    key: DeviceKey,
}

impl Site {
    pub fn open(file: &Path) -> Result<Self, Fault> {
        let config = Config::load(file)?;
        let state = config.gateway.state.clone();
        let key = gateway::device_key(&state)?;
        let memory = Memory::of(&state, key.clone());
        let remembered = memory.read().map_err(|e| {
            let remedy = format!("it was changed, or is another gateway's: find out by whom; then remove {}", e.path().display());
            Fault::new(Guilty::Store, &e, remedy)
        })?;
        let site_key = config.trust.site_key.as_deref().map(PublicKey::read).transpose().map_err(|e| wrong_key(&e))?;
        let wall_s = gateway::audit_moment().wall_ns.map(|ns| ns / 1_000_000_000);
        let fleet = match &config.trust.folder {
            Some(folder) => Seen::look(folder, remembered.fleet.as_ref(), wall_s, remembered.newest_s),
            None => Seen::default(),
        };
        let admission = Admission::with(&config, fleet.fleet.as_ref());
        let audit = Audit::new(&state, key.signer());
        Ok(Self { known: Known { fleet, memory: remembered, site_key, state }, config, memory, audit, admission, key })
    }

    pub fn remembered(&self) -> &Remembered {
        &self.known.memory
    }

    pub fn device(&self) -> PublicKey {
        self.key.signer().public()
    }

    /// On flash before the verb says that it is done.
    pub fn record(&self, entry: Entry) -> Result<u64, Fault> {
        self.audit.append(entry, gateway::audit_moment()).map_err(|e| {
            let what = format!("the audit log in {} cannot be written: {e}", self.config.gateway.state.display());
            Fault::new(
                Guilty::Store,
                what,
                "the state folder must be writable, and its disk must have room; what is not written down is not done",
            )
        })
    }
}

/// Who gives the order, for the log.
pub fn who() -> String {
    format!("uid {}", rustix::process::getuid().as_raw())
}

pub fn wrong_key(why: &KeyError) -> Fault {
    Fault::new(Guilty::Plugin, why, why.remedy())
}
