//! The documents of an OCI image layout around a package's members, with the media types of the CNCF Wasm artifact. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::flaw::Flaw;
use super::sealed::{File, media_type};
use super::statement::Claim;
use super::tar::Entry;

const LAYOUT_FILE: &str = "oci-layout";
const INDEX_FILE: &str = "index.json";
const BLOBS: &str = "blobs/sha256/";

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.wasm.config.v0+json";

const TITLE: &str = "org.opencontainers.image.title";
const VERSION: &str = "org.opencontainers.image.version";
const VENDOR: &str = "org.opencontainers.image.vendor";
const REFERENCE: &str = "org.opencontainers.image.ref.name";

type Annotations = BTreeMap<String, String>;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Layout {
    image_layout_version: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Index {
    schema_version: u8,
    media_type: String,
    manifests: Vec<Descriptor>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Manifest {
    schema_version: u8,
    media_type: String,
    config: Descriptor,
    layers: Vec<Descriptor>,
    annotations: Annotations,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Descriptor {
    media_type: String,
    digest: String,
    size: usize,
    #[serde(default, skip_serializing_if = "Annotations::is_empty")]
    annotations: Annotations,
}

/// The Wasm config: `created` is 1970 so that equal packages are equal, and `os` has no word for a component without WASI.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Config<'a> {
    created: &'a str,
    architecture: &'a str,
    os: &'a str,
    layer_digests: Vec<String>,
    component: Component<'a>,
}

#[derive(Serialize)]
struct Component<'a> {
    exports: &'a [String],
    imports: &'a [String],
}

pub fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("plain texts and numbers")
}

fn texts<const N: usize>(pairs: [(&str, &str); N]) -> Annotations {
    pairs.map(|(key, text)| (key.to_owned(), text.to_owned())).into()
}

fn descriptor(media_type: &str, digest: &str, size: usize, annotations: Annotations) -> Descriptor {
    Descriptor { media_type: media_type.into(), digest: format!("sha256:{digest}"), size, annotations }
}

/// Name and bytes of each member of the tar, in order. `layers`: the files, the envelope last.
pub fn write<'a>(layers: impl Iterator<Item = &'a File> + Clone, claim: &Claim) -> Vec<(String, Vec<u8>)> {
    let layer = |file: &File| {
        let (media_type, _) = media_type(&file.path).expect("paths are checked before they are written");
        descriptor(media_type, &file.digest, file.bytes.len(), texts([(TITLE, &file.path)]))
    };
    let config = json(&Config {
        created: "1970-01-01T00:00:00Z",
        architecture: "wasm",
        os: "wasip2",
        layer_digests: layers.clone().map(|file| format!("sha256:{}", file.digest)).collect(),
        component: Component { exports: &claim.exports, imports: &claim.imports },
    });
    let config_digest = hex(&config);
    let manifest = json(&Manifest {
        schema_version: 2,
        media_type: MANIFEST.into(),
        config: descriptor(CONFIG, &config_digest, config.len(), Annotations::new()),
        layers: layers.clone().map(layer).collect(),
        annotations: texts([(TITLE, &claim.name), (VERSION, &claim.version), (VENDOR, &claim.vendor)]),
    });
    let manifest_digest = hex(&manifest);
    let reference = texts([(REFERENCE, &claim.version)]);
    let index = json(&Index {
        schema_version: 2,
        media_type: INDEX.into(),
        manifests: vec![descriptor(MANIFEST, &manifest_digest, manifest.len(), reference)],
    });
    let layout = json(&Layout { image_layout_version: "1.0.0".into() });
    let blob = |digest: &str| format!("{BLOBS}{digest}");
    let mut members =
        vec![(LAYOUT_FILE.into(), layout), (INDEX_FILE.into(), index), (blob(&manifest_digest), manifest), (blob(&config_digest), config)];
    let mut there = BTreeSet::new();
    // two files of the same bytes are one blob
    members.extend(layers.filter(|file| there.insert(&file.digest)).map(|file| (blob(&file.digest), file.bytes.clone())));
    members
}

/// The members by what the documents call them, in the documents' order; every member is there once, in its place, and is what its digest says.
pub fn read(entries: &[Entry]) -> Result<Vec<File>, Flaw> {
    let mut blobs = BTreeMap::new();
    for entry in entries {
        if blobs.insert(entry.name, entry.bytes).is_some() {
            return Err(Flaw::Doubled { name: entry.name.into() });
        }
        let named = entry.name.strip_prefix(BLOBS);
        if named.is_none() && ![LAYOUT_FILE, INDEX_FILE].contains(&entry.name) {
            return Err(Flaw::Extra { name: entry.name.into() });
        }
        if named.is_some_and(|digest| digest != hex(entry.bytes)) {
            return Err(Flaw::Digest { name: entry.name.into() });
        }
    }
    let get = |name: &str, title: &str| blobs.get(name).copied().ok_or_else(|| Flaw::Missing { name: title.into() });
    let layout: Layout = document(LAYOUT_FILE, get(LAYOUT_FILE, LAYOUT_FILE)?)?;
    is(LAYOUT_FILE, &layout.image_layout_version, "1.0.0")?;
    let index: Index = document(INDEX_FILE, get(INDEX_FILE, INDEX_FILE)?)?;
    is(INDEX_FILE, &index.media_type, INDEX)?;
    let [image] = index.manifests.as_slice() else {
        return Err(Flaw::Document { name: INDEX_FILE.into(), why: "it names not one image".into() });
    };
    is("the image's manifest", &image.media_type, MANIFEST)?;
    let mut order = vec![LAYOUT_FILE.to_owned(), INDEX_FILE.to_owned(), place(image)];
    let manifest: Manifest = document("the image's manifest", get(&order[2], "the image's manifest")?)?;
    is("the image's manifest", &manifest.media_type, MANIFEST)?;
    is("the image's config", &manifest.config.media_type, CONFIG)?;
    order.push(place(&manifest.config));
    get(&order[3], "the image's config")?;
    let mut files = Vec::with_capacity(manifest.layers.len());
    for layer in &manifest.layers {
        let title = layer.annotations.get(TITLE).cloned().unwrap_or_default();
        let (media_type, bytes_max) = media_type(&title).ok_or_else(|| Flaw::Extra { name: title.clone() })?;
        is(&title, &layer.media_type, media_type)?;
        let at = place(layer);
        let bytes = get(&at, &title)?;
        if bytes.len() > bytes_max {
            return Err(Flaw::MemberTooLarge { name: title, bytes: bytes.len(), most: bytes_max });
        }
        files.push(File { path: title, bytes: bytes.to_vec(), digest: at[BLOBS.len()..].to_owned() });
        if !order.contains(&at) {
            order.push(at);
        }
    }
    ordered(entries, &order).map(|()| files)
}

fn place(descriptor: &Descriptor) -> String {
    format!("{BLOBS}{}", descriptor.digest.strip_prefix("sha256:").unwrap_or("?"))
}

fn ordered(entries: &[Entry], order: &[String]) -> Result<(), Flaw> {
    if let Some(extra) = entries.iter().find(|entry| order.iter().all(|name| name != entry.name)) {
        return Err(Flaw::Extra { name: extra.name.into() });
    }
    match entries.iter().zip(order).find(|(entry, name)| entry.name != **name) {
        Some((entry, name)) => Err(Flaw::Reordered { name: entry.name.into(), expected: name.clone() }),
        None => Ok(()),
    }
}

fn document<T: DeserializeOwned>(name: &str, bytes: &[u8]) -> Result<T, Flaw> {
    serde_json::from_slice(bytes).map_err(|e| Flaw::Document { name: name.into(), why: e.to_string() })
}

fn is(name: &str, found: &str, expected: &str) -> Result<(), Flaw> {
    if found == expected {
        return Ok(());
    }
    Err(Flaw::MediaType { name: name.into(), found: found.into(), expected: expected.into() })
}
