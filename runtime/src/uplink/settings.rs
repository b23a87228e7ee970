//! The uplink's settings after their bounds were checked, and the TLS configuration that every connection shares.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use super::error::{Peer, UplinkError, no_ca};
use crate::backoff::Bounds;
use crate::config;

/// The client panics below it.
const KEEP_ALIVE_S_MIN: u16 = 5;
/// A part's frame takes about 170 bytes, and the largest batch must fit into the parts that the wire allows.
pub(super) const MESSAGE_BYTES_MIN: usize = 1 << 10;
/// Above it, a broken connection costs more repeats than the longest path needs in flight.
const WINDOW_MESSAGES_MAX: u16 = 4096;
/// What one broken connection may cost, and what the client holds in memory.
const WINDOW_BYTES_MAX: usize = 16 << 20;
/// A day: longer waits are a configuration mistake.
const WAIT_S_MAX: u64 = 24 * 60 * 60;

#[derive(Clone)]
pub(super) struct Settings {
    pub peer: Peer,
    pub port: u16,
    pub login: Option<(String, String)>,
    pub topic: String,
    pub message_bytes: usize,
    pub window_messages: u16,
    pub window_bytes: usize,
    pub keep_alive: Duration,
    pub progress: Duration,
    pub resend: Duration,
    pub backoff: Bounds,
    /// One for all connections: session tickets live in it, and a resumed handshake costs half the bytes.
    pub tls: Arc<ClientConfig>,
}

impl Settings {
    pub fn new(c: &config::Uplink, ca_pem: &[u8], password: Option<&[u8]>, gateway: &str) -> Result<Self, UplinkError> {
        check(c)?;
        Ok(Self {
            peer: Peer {
                broker: format!("{}:{}", c.host, c.port),
                host: c.host.clone(),
                client: format!("wardgate-{gateway}"),
                ca_file: c.ca_file.clone(),
            },
            port: c.port,
            login: login(c.username.as_deref(), password)?,
            topic: c.topic.clone(),
            message_bytes: c.message_bytes,
            window_messages: c.window_messages,
            window_bytes: c.window_bytes,
            keep_alive: Duration::from_secs(c.keep_alive_s.into()),
            progress: Duration::from_secs(c.progress_s),
            resend: Duration::from_secs(c.resend_s),
            backoff: Bounds { min: Duration::from_millis(c.backoff_min_ms), max: Duration::from_millis(c.backoff_max_ms) },
            tls: tls(ca_pem, &c.ca_file)?,
        })
    }
}

fn check(c: &config::Uplink) -> Result<(), UplinkError> {
    let must = |fits: bool, setting, value: &dyn ToString, why| {
        if fits { Ok(()) } else { Err(UplinkError::Setting { setting, value: value.to_string(), why }) }
    };
    let host_fits = !c.host.is_empty() && !c.host.contains([':', '/', ' ']);
    must(host_fits, "host", &c.host, "must be a host name or an IPv4 address, as the broker's certificate names it")?;
    must(c.port != 0, "port", &c.port, "must be the broker's TLS port, usually 8883")?;
    must(
        wardgate_wire::topics::is_root(&c.topic),
        "topic",
        &c.topic,
        "must be plain topic levels of at most 64 bytes, such as wardgate/1",
    )?;
    must(c.message_bytes >= MESSAGE_BYTES_MIN, "message_bytes", &c.message_bytes, "must be at least 1024")?;
    let window_fits = (1..=WINDOW_MESSAGES_MAX).contains(&c.window_messages);
    must(window_fits, "window_messages", &c.window_messages, "must be 1 to 4096")?;
    must((1..=WINDOW_BYTES_MAX).contains(&c.window_bytes), "window_bytes", &c.window_bytes, "must be 1 to 16777216")?;
    must(c.keep_alive_s >= KEEP_ALIVE_S_MIN, "keep_alive_s", &c.keep_alive_s, "must be at least 5")?;
    must((1..=WAIT_S_MAX).contains(&c.progress_s), "progress_s", &c.progress_s, "must be 1 to 86400")?;
    must((1..=WAIT_S_MAX).contains(&c.resend_s), "resend_s", &c.resend_s, "must be 1 to 86400")?;
    must((1..=WAIT_S_MAX * 1000).contains(&c.backoff_max_ms), "backoff_max_ms", &c.backoff_max_ms, "must be 1 to 86400000")?;
    must((1..=c.backoff_max_ms).contains(&c.backoff_min_ms), "backoff_min_ms", &c.backoff_min_ms, "must be 1 to backoff_max_ms")
}

/// A line end after the password is the editor's, not the password's.
fn login(username: Option<&str>, password: Option<&[u8]>) -> Result<Option<(String, String)>, UplinkError> {
    let password = password.map(|bytes| {
        let text = std::str::from_utf8(bytes).map_err(|_| UplinkError::Setting {
            setting: "password_file",
            value: "(secret)".into(),
            why: "must hold UTF-8 text: MQTT client and broker agree on no other",
        })?;
        Ok(text.strip_suffix('\n').map(|line| line.strip_suffix('\r').unwrap_or(line)).unwrap_or(text).to_owned())
    });
    match (username, password.transpose()?) {
        (Some(user), password) => Ok(Some((user.to_owned(), password.unwrap_or_default()))),
        (None, None) => Ok(None),
        (None, Some(_)) => {
            Err(UplinkError::Setting { setting: "username", value: "(none)".into(), why: "must be given with a password_file" })
        }
    }
}

fn tls(ca_pem: &[u8], file: &Path) -> Result<Arc<ClientConfig>, UplinkError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca_pem) {
        let certificate = certificate.map_err(|e| no_ca(file, e))?;
        roots.add(certificate).map_err(|e| no_ca(file, e))?;
    }
    if roots.is_empty() {
        return Err(no_ca(file, "no certificate in it"));
    }
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| no_ca(file, e))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
