//! Where metadata and packages come from: a folder (a stick), one bundle file, or a mirror over HTTP. Bounded, and read the same way.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use futures_util::stream;
use reqwest::Url;
use tough::{Bytes, Transport, TransportError, TransportErrorKind, TransportStream};

use crate::bundle::Bundle;
use crate::desk::{METADATA, REPOSITORY, TARGETS};
use crate::fault::Fault;
use crate::files;

/// A base that names no machine: what stands behind it is a path in the repository.
pub const BASE: &str = "trust://fleet/";
/// A package file has at most 16 MiB.
pub const TARGET_BYTES_MAX: u64 = 16 << 20;
const CONNECT_S_MAX: u64 = 15; // a thin link answers a handshake within that
const REDIRECTS_MAX: usize = 3;

#[derive(Clone, Debug)]
pub enum Source {
    Folder(PathBuf),
    Bundle(Arc<Bundle>),
    Mirror { client: reqwest::Client, base: Url },
}

impl Source {
    /// `words`: what a person named.
    pub fn of(words: &str, ca: Option<&Path>) -> Result<Self, Fault> {
        if words.starts_with("http://") || words.starts_with("https://") {
            let base = if words.ends_with('/') { words.to_owned() } else { format!("{words}/") };
            let base =
                base.parse().map_err(|e| Fault::usage(format!("{words:?} is no address: {e}"), "write it as https://host/folder"))?;
            return Ok(Self::Mirror { client: client(ca)?, base });
        }
        let path = Path::new(words);
        if path.is_file() {
            return Ok(Self::Bundle(Arc::new(Bundle::read(path)?)));
        }
        let inside = path.join(REPOSITORY);
        let folder = if inside.join(METADATA).is_dir() { inside } else { path.to_owned() };
        if folder.join(METADATA).is_dir() {
            return Ok(Self::Folder(folder));
        }
        Err(Fault::usage(
            format!("{words} holds no fleet's metadata"),
            "name the folder `repository` of the fleet's desk or a copy of it, its file fleet.bundle, or the address of a mirror",
        ))
    }

    /// One package's bytes; whether they are right is for the caller.
    pub async fn target(&self, place: &str) -> Result<Vec<u8>, Fault> {
        self.read(place, TARGET_BYTES_MAX).await.map_err(|e| crate::client::lost(&e, self))
    }

    pub fn name(&self) -> String {
        match self {
            Self::Folder(folder) => folder.display().to_string(),
            Self::Bundle(_) => "the bundle".into(),
            Self::Mirror { base, .. } => base.to_string(),
        }
    }

    async fn read(&self, path: &str, most: u64) -> Result<Vec<u8>, TransportError> {
        let failed = |kind, why: String| TransportError::new_with_cause(kind, path, why);
        let absent = || TransportError::new(TransportErrorKind::FileNotFound, path);
        match self {
            Self::Folder(folder) => match files::read_plain(&folder.join(path), most) {
                Ok(bytes) => Ok(bytes),
                Err(Fault::File { why, .. }) if why.kind() == std::io::ErrorKind::NotFound => Err(absent()),
                Err(Fault::TooLarge { .. }) => Err(failed(TransportErrorKind::Other, too_long(most))),
                Err(why) => Err(failed(TransportErrorKind::Other, why.to_string())),
            },
            Self::Bundle(bundle) => bundle.files.get(path).map(|text| text.clone().into_bytes()).ok_or_else(absent),
            Self::Mirror { client, base } => {
                let url = base.join(path).map_err(|e| failed(TransportErrorKind::Other, e.to_string()))?;
                let lost = |e: reqwest::Error| TransportError::new_with_cause(TransportErrorKind::Other, path, in_words(&e));
                let mut answer = client.get(url).send().await.map_err(lost)?;
                if [reqwest::StatusCode::NOT_FOUND, reqwest::StatusCode::FORBIDDEN].contains(&answer.status()) {
                    return Err(absent());
                }
                if !answer.status().is_success() {
                    return Err(failed(TransportErrorKind::Other, format!("it answers {}", answer.status())));
                }
                let mut bytes = Vec::new();
                while let Some(chunk) = answer.chunk().await.map_err(lost)? {
                    if (bytes.len() + chunk.len()) as u64 > most {
                        return Err(failed(TransportErrorKind::Other, too_long(most)));
                    }
                    bytes.extend_from_slice(&chunk);
                }
                Ok(bytes)
            }
        }
    }
}

/// What [`Refusal::Endless`](crate::fault::Refusal::Endless) is recognised by.
pub const TOO_LONG: &str = "it goes on beyond";

fn too_long(most: u64) -> String {
    format!("{TOO_LONG} {most} bytes")
}

/// An error of reqwest with its causes, which name the certificate or the refused connection.
pub fn in_words(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(why) = cause {
        let why_words = why.to_string();
        if !words.contains(&why_words) {
            words = format!("{words}: {why_words}");
        }
        cause = why.source();
    }
    words
}

pub fn certificates(ca: &Path) -> Result<Vec<reqwest::Certificate>, Fault> {
    let pem = files::read(ca, files::DOCUMENT_BYTES_MAX)?;
    let certificates = reqwest::Certificate::from_pem_bundle(&pem).map_err(|e| Fault::broken(ca, in_words(&e)))?;
    if certificates.is_empty() { Err(Fault::broken(ca, "it holds no certificate in PEM")) } else { Ok(certificates) }
}

fn client(ca: Option<&Path>) -> Result<reqwest::Client, Fault> {
    let mut builder = reqwest::Client::builder()
        .connect_timeout(std::time::Duration::from_secs(CONNECT_S_MAX))
        .redirect(reqwest::redirect::Policy::limited(REDIRECTS_MAX));
    if let Some(ca) = ca {
        builder = builder.tls_certs_only(certificates(ca)?);
    }
    builder.build().map_err(|e| Fault::Link { from: "this machine".into(), why: in_words(&e) })
}

/// tough's door to a source; remembers what went through it.
#[derive(Clone, Debug)]
pub struct Carrier {
    source: Source,
    /// By path in the repository.
    pub seen: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
}

impl Carrier {
    pub fn new(source: Source) -> Self {
        Self { source, seen: Arc::default() }
    }
}

#[tough::async_trait]
impl Transport for Carrier {
    async fn fetch(&self, url: Url) -> Result<TransportStream, TransportError> {
        let path = url.path().trim_start_matches('/');
        let (path, most) = match path.strip_prefix(&format!("{TARGETS}/")) {
            Some(target) => (format!("{TARGETS}/{}", target_place(target)), TARGET_BYTES_MAX),
            None => (path.to_owned(), files::DOCUMENT_BYTES_MAX),
        };
        if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(TransportError::new(TransportErrorKind::FileNotFound, path));
        }
        let read = self.source.read(&path, most).await;
        if let Ok(bytes) = &read {
            self.seen.lock().expect("nobody panics while holding it").insert(path, bytes.clone());
        }
        // an error inside the stream ends the update; one before it would pass for "there is no newer root"
        Ok(Box::pin(stream::iter([read.map(Bytes::from)])))
    }
}

/// tough asks for DIGEST.acme/pump; a repository keeps acme/DIGEST.pump.
fn target_place(asked: &str) -> String {
    let split = asked.split_once('.').and_then(|(digest, name)| name.rsplit_once('/').map(|(folder, name)| (digest, folder, name)));
    match split {
        Some((digest, folder, name)) => format!("{folder}/{digest}.{name}"),
        None => asked.to_owned(),
    }
}
