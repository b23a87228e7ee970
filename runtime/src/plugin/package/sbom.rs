//! The bill of materials of a plugin, as CycloneDX 1.6: the crates that its component was made of, from its own Cargo.lock. What only its tests use
//! is not in it; macros and build scripts are, because they write code that is.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Value as Json, json};

use crate::config::Lock;

/// What `cargo metadata` says.
#[derive(Deserialize)]
pub struct Metadata {
    packages: Vec<Crate>,
    resolve: Resolve,
    pub workspace_root: PathBuf,
}

#[derive(Deserialize)]
struct Crate {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    manifest_path: PathBuf,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Need>,
}

#[derive(Deserialize)]
struct Need {
    pkg: String,
    dep_kinds: Vec<NeedKind>,
}

#[derive(Deserialize)]
struct NeedKind {
    kind: Option<String>,
}

impl Need {
    fn in_the_component(&self) -> bool {
        self.dep_kinds.iter().any(|kind| kind.kind.as_deref() != Some("dev"))
    }
}

fn purl(c: &Crate) -> String {
    format!("pkg:cargo/{}@{}", c.name, c.version)
}

/// The bill of the crate whose Cargo.toml this is. `None`: cargo does not know it.
pub fn bill(metadata: &Metadata, cargo_toml: &Path, lock: &Lock) -> Option<Vec<u8>> {
    let crates: BTreeMap<&str, &Crate> = metadata.packages.iter().map(|c| (c.id.as_str(), c)).collect();
    let nodes: BTreeMap<&str, &Node> = metadata.resolve.nodes.iter().map(|n| (n.id.as_str(), n)).collect();
    let root = metadata.packages.iter().find(|c| c.manifest_path == cargo_toml)?;
    let needs = |id: &str| -> BTreeSet<&str> {
        let deps = nodes.get(id).map(|node| node.deps.as_slice()).unwrap_or_default();
        deps.iter().filter(|need| need.in_the_component()).map(|need| need.pkg.as_str()).collect()
    };
    let (mut found, mut open) = (BTreeMap::from([(root.id.as_str(), needs(&root.id))]), vec![root.id.as_str()]);
    while let Some(id) = open.pop() {
        for need in found[id].clone() {
            if !found.contains_key(need) {
                found.insert(need, needs(need));
                open.push(need);
            }
        }
    }
    // ids of crates in folders hold paths of this machine: nothing is sorted by them, and none is written
    let mut all: Vec<(&Crate, &BTreeSet<&str>)> = found.iter().filter_map(|(id, needs)| Some((*crates.get(id)?, needs))).collect();
    all.sort_by_key(|(c, _)| (&c.name, &c.version));
    let components: Vec<Json> = all.iter().filter(|(c, _)| c.id != root.id).map(|(c, _)| component(c, lock)).collect();
    let depends = |needs: &BTreeSet<&str>| {
        let mut refs: Vec<String> = needs.iter().filter_map(|id| crates.get(id)).map(|c| purl(c)).collect();
        refs.sort();
        refs
    };
    let dependencies: Vec<Json> = all.iter().map(|(c, needs)| json!({"ref": purl(c), "dependsOn": depends(needs)})).collect();
    let bill = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {"type": "application", "bom-ref": purl(root), "name": root.name, "version": root.version, "purl": purl(root)}},
        "components": components,
        "dependencies": dependencies,
    });
    Some(serde_json::to_vec(&bill).expect("plain texts"))
}

fn component(c: &Crate, lock: &Lock) -> Json {
    let mut it = json!({"type": "library", "bom-ref": purl(c), "name": c.name, "version": c.version, "purl": purl(c)});
    if let Some(checksum) = lock.find(&c.name, &c.version).and_then(|locked| locked.checksum.as_deref()) {
        it["hashes"] = json!([{"alg": "SHA-256", "content": checksum}]);
    }
    if let Some(license) = &c.license {
        // older crates write MIT/Apache-2.0 for what SPDX calls OR
        it["licenses"] = json!([{"expression": license.replace('/', " OR ")}]);
    }
    it
}

/// Name and version of each crate that a bill names.
pub fn crates(bill: &[u8]) -> Option<Vec<(String, String)>> {
    let bill: Json = serde_json::from_slice(bill).ok()?;
    let text = |value: &Json| value.as_str().map(str::to_owned);
    bill["components"].as_array()?.iter().map(|c| Some((text(&c["name"])?, text(&c["version"])?))).collect()
}

/// What a bill says, for a person.
#[derive(Debug, Default, PartialEq)]
pub struct Summary {
    pub crates: usize,
    /// Of those, how many are named by the digest of what was downloaded.
    pub with_digest: usize,
    /// Licence and how many crates have it.
    pub licences: BTreeMap<String, usize>,
}

impl Summary {
    pub fn of(bill: &[u8]) -> Option<Self> {
        let bill: Json = serde_json::from_slice(bill).ok()?;
        let components = bill["components"].as_array()?;
        let mut summary = Self { crates: components.len(), ..Self::default() };
        for component in components {
            summary.with_digest += usize::from(component["hashes"][0]["content"].is_string());
            let licence = component["licenses"][0]["expression"].as_str().unwrap_or("no licence named");
            *summary.licences.entry(licence.to_owned()).or_default() += 1;
        }
        Some(summary)
    }
}
