//! What a vendor signs: an in-toto Statement that names the digest of each member and says what the package is, in a DSSE envelope. Pure.

use serde::{Deserialize, Serialize};

use super::flaw::Flaw;
use super::sealed::{File, STATEMENT_FILE};
use crate::config::Manifest;
use crate::contract::PACKAGE;
use crate::keys::{KeyError, PublicKey, SecretKey, base64};
use crate::plugin::Surface;

/// Two: a vendor may sign with its old key and its new one while sites change over.
pub const SIGNATURES_MAX: usize = 2;

const STATEMENT: &str = "https://in-toto.io/Statement/v1";
const PREDICATE: &str = "urn:wardgate:package:v1";
const PAYLOAD: &str = "application/vnd.in-toto+json";

/// What the package says of itself, in the vendor's name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Claim {
    pub vendor: String,
    pub name: String,
    pub version: String,
    /// Counts up with every package of this name, whatever the version says: an older one never takes the place of a newer one.
    pub release: u64,
    /// wardgate:device@0.1.0
    pub contract: String,
    pub imports: Vec<String>,
    pub exports: Vec<String>,
    /// The links that it asks for.
    pub capabilities: Vec<String>,
    /// The first version of the gateway that it runs on.
    pub minimum_gateway: String,
}

/// The first gateway that there was.
const FIRST_GATEWAY: &str = "0.1.0";

impl Claim {
    /// `None`: the manifest does not say who the vendor is, or which release this is.
    pub fn of(manifest: &Manifest, surface: &Surface) -> Option<Self> {
        let (vendor, release) = (manifest.vendor.clone()?, Some(manifest.release).filter(|n| *n > 0)?);
        let lifecycle = format!("{PACKAGE}/lifecycle@");
        let version = surface.exports.iter().find_map(|export| export.strip_prefix(&lifecycle)).unwrap_or_default();
        Some(Self {
            vendor,
            name: manifest.name.clone(),
            version: manifest.version.clone(),
            release,
            contract: format!("{PACKAGE}@{version}"),
            imports: surface.imports.clone(),
            exports: surface.exports.clone(),
            capabilities: manifest.links.iter().map(|link| link.name().to_owned()).collect(),
            minimum_gateway: manifest.gateway.clone().unwrap_or_else(|| FIRST_GATEWAY.to_owned()),
        })
    }

    pub fn full_name(&self) -> String {
        format!("{}-{}", self.name, self.version)
    }

    /// What is said here must be what the members say themselves.
    pub fn agrees(&self, held: &Self) -> Result<(), Flaw> {
        let fields = |claim: &Self| {
            [
                ("vendor", claim.vendor.clone()),
                ("name", claim.name.clone()),
                ("version", claim.version.clone()),
                ("release", claim.release.to_string()),
                ("contract", claim.contract.clone()),
                ("imports", claim.imports.join(" ")),
                ("exports", claim.exports.join(" ")),
                ("capabilities", claim.capabilities.join(" ")),
                ("minimumGateway", claim.minimum_gateway.clone()),
            ]
        };
        match fields(self).into_iter().zip(fields(held)).find(|(said, held)| said != held) {
            Some(((field, said), (_, held))) => Err(Flaw::Claim { field, said, held }),
            None => Ok(()),
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Statement {
    #[serde(rename = "_type")]
    kind: String,
    subject: Vec<Subject>,
    #[serde(rename = "predicateType")]
    predicate_type: String,
    predicate: Claim,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Subject {
    name: String,
    digest: Sha256Text,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sha256Text {
    sha256: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Envelope {
    payload: String,
    payload_type: String,
    signatures: Vec<EnvelopeSignature>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EnvelopeSignature {
    keyid: String,
    sig: String,
}

/// By the key whose other half made it.
#[derive(Clone, Debug, PartialEq)]
pub struct Signature {
    pub key: PublicKey,
    bytes: Vec<u8>,
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("plain texts and numbers")
}

/// The bytes of the statement about these files.
fn payload(files: &[File], claim: &Claim) -> Vec<u8> {
    let subject = files.iter().map(|f| Subject { name: f.path.clone(), digest: Sha256Text { sha256: f.digest.clone() } }).collect();
    json(&Statement { kind: STATEMENT.into(), subject, predicate_type: PREDICATE.into(), predicate: claim.clone() })
}

pub fn digest(files: &[File], claim: &Claim) -> String {
    super::oci::hex(&payload(files, claim))
}

/// DSSE's pre-authentication encoding: what is signed says of what kind it is.
fn encoded(payload: &[u8]) -> Vec<u8> {
    let mut message = format!("DSSEv1 {} {PAYLOAD} {} ", PAYLOAD.len(), payload.len()).into_bytes();
    message.extend_from_slice(payload);
    message
}

pub fn sign(files: &[File], claim: &Claim, key: &SecretKey) -> Result<Signature, KeyError> {
    Ok(Signature { key: key.public(), bytes: key.sign(&encoded(&payload(files, claim)))? })
}

/// The envelope as a package holds it.
pub fn write(files: &[File], claim: &Claim, signatures: &[Signature]) -> Vec<u8> {
    let signatures = signatures.iter().map(|s| EnvelopeSignature { keyid: s.key.id(), sig: base64::encode(&s.bytes) }).collect();
    json(&Envelope { payload: base64::encode(&payload(files, claim)), payload_type: PAYLOAD.into(), signatures })
}

/// What an envelope says of these files, and by whom it is signed: maybe by nobody, but by nobody wrongly.
pub fn read(envelope: &[u8], files: &[File]) -> Result<(Claim, Vec<Signature>), Flaw> {
    let unreadable = |why: String| Flaw::Document { name: STATEMENT_FILE.into(), why };
    let read: Envelope = serde_json::from_slice(envelope).map_err(|e| unreadable(e.to_string()))?;
    let is = |found: &str, expected: &str| {
        let (name, found) = (STATEMENT_FILE.to_owned(), found.to_owned());
        if found == expected { Ok(()) } else { Err(Flaw::MediaType { name, found, expected: expected.to_owned() }) }
    };
    is(&read.payload_type, PAYLOAD)?;
    let payload = base64::decode(&read.payload).ok_or_else(|| unreadable("its payload is not base64".into()))?;
    let signatures = read.signatures.iter().map(|s| {
        let signature = PublicKey::of_id(&s.keyid).zip(base64::decode(&s.sig));
        signature
            .map(|(key, bytes)| Signature { key, bytes })
            .ok_or_else(|| unreadable("a signature is no Ed25519 key and signature".into()))
    });
    let signatures = signatures.collect::<Result<Vec<_>, _>>()?;
    if signatures.len() > SIGNATURES_MAX {
        return Err(unreadable(format!("it has more than {SIGNATURES_MAX} signatures")));
    }
    if !signatures.is_sorted_by(|a, b| a.key < b.key) {
        return Err(Flaw::NotCanonical { name: STATEMENT_FILE.into() });
    }
    let message = encoded(&payload);
    if let Some(wrong) = signatures.iter().find(|s| !s.key.signed(&message, &s.bytes)) {
        return Err(Flaw::Signature(wrong.key));
    }
    let statement: Statement = serde_json::from_slice(&payload).map_err(|e| unreadable(e.to_string()))?;
    is(&statement.kind, STATEMENT)?;
    is(&statement.predicate_type, PREDICATE)?;
    let named = |name: &str| statement.subject.iter().find(|s| s.name == name);
    let other = |file: &&File| named(&file.path).is_none_or(|s| s.digest.sha256 != file.digest);
    let strange = |s: &&Subject| files.iter().all(|file| file.path != s.name);
    let wrong = files.iter().find(other).map(|file| &file.path).or(statement.subject.iter().find(strange).map(|s| &s.name));
    match wrong {
        Some(name) => Err(Flaw::Subject { name: name.clone() }),
        None => Ok((statement.predicate, signatures)),
    }
}
