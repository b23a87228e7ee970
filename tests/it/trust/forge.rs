//! What an attacker with some of the keys can make: metadata changed and signed anew, by hand and not by the program under test.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};
use wardgate::plugin::SecretKey;

use super::site::Site;

pub struct Forge {
    /// A repository of the attacker's.
    pub folder: PathBuf,
    keys: PathBuf,
}

impl Forge {
    /// Begins with a copy of what the desk has.
    pub fn new(site: &Site, name: &str) -> Self {
        site.copy("fleet/repository", name);
        Self { folder: site.path(name), keys: site.path("fleet/keys") }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join("metadata").join(name)
    }

    pub fn read(&self, name: &str) -> Json {
        serde_json::from_slice(&fs::read(self.path(name)).expect("there")).expect("JSON")
    }

    pub fn write(&self, name: &str, value: &Json) {
        fs::write(self.path(name), value.to_string()).expect("written");
    }

    /// A secret of the desk's.
    pub fn stolen(&self, name: &str) -> SecretKey {
        SecretKey::read(&self.keys.join(format!("{name}.key"))).expect("a key")
    }

    /// How a role's key is called in the newest root.
    pub fn keyid(&self, role: &str, n: usize) -> String {
        let roots = fs::read_dir(self.folder.join("metadata")).expect("a folder").count() as u64;
        let newest = (1..=roots).rev().find(|n| self.path(&format!("{n}.root.json")).exists()).expect("a root");
        self.read(&format!("{newest}.root.json"))["signed"]["roles"][role]["keyids"][n].as_str().expect("a key").to_owned()
    }

    /// Changes a role and signs it with these keys.
    pub fn change(&self, file: &str, by: &[(String, SecretKey)], change: impl Fn(&mut Json)) -> Json {
        let mut value = self.read(file);
        change(&mut value["signed"]);
        let value = signed(&value["signed"], by);
        self.write(file, &value);
        value
    }

    /// Snapshot and timestamp over what lies there now, signed with the desk's own keys: the worst attacker but one.
    pub fn cover(&self, changed: &[(&str, &str)]) {
        let timestamp = self.read("timestamp.json");
        let n = timestamp["signed"]["meta"]["snapshot.json"]["version"].as_u64().expect("a version");
        let snapshot = format!("{n}.snapshot.json");
        self.change(&snapshot, &[(self.keyid("snapshot", 0), self.stolen("snapshot"))], |signed| {
            for (name, file) in changed {
                signed["meta"][*name] = self.meta(file);
            }
        });
        self.change("timestamp.json", &[(self.keyid("timestamp", 0), self.stolen("timestamp"))], |signed| {
            signed["meta"]["snapshot.json"] = self.meta(&snapshot);
        });
    }

    fn meta(&self, file: &str) -> Json {
        let bytes = fs::read(self.path(file)).expect("there");
        let digest: String = Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect();
        json!({"length": bytes.len(), "hashes": {"sha256": digest}, "version": self.read(file)["signed"]["version"]})
    }
}

/// The canonical form of such values is JSON without spaces and with sorted keys.
pub fn signed(value: &Json, by: &[(String, SecretKey)]) -> Json {
    let message = value.to_string();
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let signatures: Vec<_> =
        by.iter().map(|(id, key)| json!({"keyid": id, "sig": hex(&key.sign(message.as_bytes()).expect("a key in a file"))})).collect();
    json!({"signed": value, "signatures": signatures})
}
