//! What is said about errors, and how often.

use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::{ClientConfig, RootCertStore};
use tracing_subscriber::fmt::MakeWriter;
use wardgate_wire::{GatewayId, Key};

use crate::backoff::Bounds;
use crate::status::Status;
use crate::store::{Limits, Store};
use crate::uplink::UplinkError;
use crate::uplink::context::Context;
use crate::uplink::error::Peer;
use crate::uplink::settings::Settings;

fn settings() -> Settings {
    let tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    Settings {
        peer: Peer { broker: "b:1".into(), host: "b".into(), client: "wardgate-w".into(), ca_file: PathBuf::new() },
        port: 1,
        login: None,
        topic: "wardgate/1".into(),
        message_bytes: 1024,
        window_messages: 1,
        window_bytes: 1,
        keep_alive: Duration::from_secs(5),
        progress: Duration::from_secs(1),
        resend: Duration::from_secs(1),
        backoff: Bounds { min: Duration::from_secs(1), max: Duration::from_secs(1) },
        tls: Arc::new(tls),
    }
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;
    fn make_writer(&self) -> Self {
        self.clone()
    }
}

impl Log {
    fn lines(&self, part: &str) -> usize {
        String::from_utf8_lossy(&self.0.lock().unwrap()).lines().filter(|line| line.contains(part)).count()
    }
}

#[test]
fn an_error_is_logged_once_for_each_change_and_stands_in_status_until_all_is_well() {
    let folder = std::env::temp_dir().join(format!("wardgate-uplink-context-{}", std::process::id()));
    let (_store, shelf, _) = Store::open(&folder, Limits { segment_bytes: 4096, bytes_max: 1 << 20 }, 1).unwrap();
    let (status, log) = (Status::default(), Log::default());
    let key = Key::new(&[1; 16]).unwrap();
    let mut context = Context::new(settings(), GatewayId::new("w").unwrap(), key, shelf, status.clone());
    let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::INFO).with_writer(log.clone()).finish();
    tracing::subscriber::with_default(subscriber, || {
        let error = |why: &str| UplinkError::Lost { broker: "b:1".into(), why: why.into() };
        (0..5).for_each(|_| context.report(&error("first")));
        assert_eq!((log.lines("first"), status.read().uplink.last_error.contains("first")), (1, true));
        context.report(&error("second"));
        context.report(&error("first"));
        assert_eq!((log.lines("first"), log.lines("second")), (2, 1));
        context.acknowledged(&[0, 0]);
        assert!(status.read().uplink.last_error.contains("first"), "a replay is no sign of health");
        context.acknowledged(&[0, 3]);
        assert_eq!(status.read().uplink.last_error, "");
        context.report(&error("first"));
        assert_eq!(log.lines("first"), 3, "after good times it is news again");
        (0..1000).for_each(|_| context.hear_ack(b"wardgate/1/w/ack", b"forged"));
        assert_eq!((log.lines("refused"), status.read().uplink.acknowledgements_refused), (10, 1000));
    });
    let uplink = status.read().uplink;
    assert_eq!((uplink.batches_acknowledged, uplink.acknowledgements_without_news), (3, 3));
    std::fs::remove_dir_all(&folder).unwrap();
}
