//! A side window for Prometheus: answers GET /metrics in the text format 0.0.4. Reads counters, decides nothing; while nobody asks, nothing wakes up.
//!
//! docs/metrics.md lists every metric. Labels are names that the configuration gives (instances, buses) and words of closed lists, never what a
//! device, a broker or a person says: their number is bounded, and nothing in them tells of a patient.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use wardgate_wire::GapReason;

use crate::status::{InstanceStatus, LinkStatus, Snapshot, Status};

/// A scraper asks once every few seconds. When more are open than this, the oldest is dropped: who comes last is heard, whoever sits there.
const CONNECTIONS_MAX: usize = 16;
/// A request and its answer take milliseconds on loopback.
const PATIENCE_MS_MAX: u64 = 2000;
/// Prometheus sends some 300 bytes.
const REQUEST_BYTES_MAX: usize = 8 << 10;
/// After an accept that failed (no more files), the rest of the gateway goes first.
const ACCEPT_REST_MS: u64 = 100;

/// Which label a link has: a serial port's own path may hold a serial number, so it bears the name of its instance.
pub type LinkNames = BTreeMap<String, String>;

// ---------- the window

type Connection = Pin<Box<dyn Future<Output = ()> + Send>>;

pub async fn serve(listener: TcpListener, status: Status, links: LinkNames, now: fn() -> u64) {
    let mut open: VecDeque<Connection> = VecDeque::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((peer, _)) => {
                    if open.len() == CONNECTIONS_MAX {
                        open.pop_front();
                    }
                    let (status, links) = (status.clone(), links.clone());
                    open.push_back(Box::pin(async move {
                        let patience = Duration::from_millis(PATIENCE_MS_MAX);
                        // an asker that went away or stalls is its own loss
                        let _ = timeout(patience, converse(peer, &status, &links, now)).await;
                    }));
                }
                Err(_) => sleep(Duration::from_millis(ACCEPT_REST_MS)).await,
            },
            () = go_on(&mut open), if !open.is_empty() => {}
        }
    }
}

/// Until one of them has ended.
async fn go_on(open: &mut VecDeque<Connection>) {
    poll_fn(|context| {
        let before = open.len();
        open.retain_mut(|one| one.as_mut().poll(context).is_pending());
        if open.len() < before { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// One request, one answer, and goodbye.
async fn converse(mut peer: TcpStream, status: &Status, links: &LinkNames, now: fn() -> u64) -> io::Result<()> {
    let mut request = Vec::new();
    while !request.windows(4).any(|w| w == b"\r\n\r\n") {
        if request.len() > REQUEST_BYTES_MAX {
            return answer(&mut peer, "431 Request Header Fields Too Large", "", "the request is too long\n", false).await;
        }
        if peer.read_buf(&mut request).await? == 0 {
            return Ok(()); // it left in the middle of its question
        }
    }
    let line = request.split(|b| *b == b'\r').next().unwrap_or_default();
    match asked(line) {
        Ok(head_only) => answer(&mut peer, "200 OK", "", &exposition(&status.at(now()), links), head_only).await,
        Err((code, header, text)) => answer(&mut peer, code, header, text, false).await,
    }
}

type Refusal = (&'static str, &'static str, &'static str);

/// Whether only the head is wanted, or what is wrong with a request line.
fn asked(line: &[u8]) -> Result<bool, Refusal> {
    let bad = ("400 Bad Request", "", "this is no HTTP request\n");
    let mut words = std::str::from_utf8(line).map_err(|_| bad)?.split(' ');
    let (Some(method), Some(target), Some(version), None) = (words.next(), words.next(), words.next(), words.next()) else {
        return Err(bad);
    };
    if !version.starts_with("HTTP/1.") {
        return Err(bad);
    }
    if target.split('?').next() != Some("/metrics") {
        return Err(("404 Not Found", "", "only /metrics is here\n"));
    }
    match method {
        "GET" => Ok(false),
        "HEAD" => Ok(true),
        _ => Err(("405 Method Not Allowed", "Allow: GET, HEAD\r\n", "only GET and HEAD: nothing can be changed here\n")),
    }
}

async fn answer(peer: &mut TcpStream, code: &str, header: &str, body: &str, head_only: bool) -> io::Result<()> {
    let length = body.len();
    let mut text = format!(
        "HTTP/1.1 {code}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: {length}\r\n{header}Connection: close\r\n\r\n"
    );
    if !head_only {
        text.push_str(body);
    }
    peer.write_all(text.as_bytes()).await?;
    peer.shutdown().await
}

// ---------- the page

enum Kind {
    Counter,
    Gauge,
}
use Kind::{Counter, Gauge};

struct Page(String);

type Labels<'a> = &'a [(&'a str, &'a str)];

impl Page {
    fn family(&mut self, name: &str, kind: &Kind, help: &str) {
        let kind = if matches!(kind, Counter) { "counter" } else { "gauge" };
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    fn sample(&mut self, name: &str, labels: Labels, value: impl std::fmt::Display) {
        self.0.push_str(name);
        for (n, (label, text)) in labels.iter().enumerate() {
            let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(self.0, "{}{label}=\"{text}\"", if n == 0 { '{' } else { ',' });
        }
        let _ = writeln!(self.0, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }

    fn one(&mut self, name: &str, kind: &Kind, help: &str, value: impl std::fmt::Display) {
        self.family(name, kind, help);
        self.sample(name, &[], value);
    }
}

type OfInstance = (&'static str, Kind, &'static str, fn(&InstanceStatus) -> u64);

const INSTANCES: &[OfInstance] = &[
    ("wardgate_instance_link_up", Gauge, "1 while the link to the device is up.", |i| i.link_up.into()),
    ("wardgate_instance_opens_total", Counter, "How often the plugin was opened.", |i| i.opens),
    ("wardgate_instance_calls_total", Counter, "Calls into the plugin.", |i| i.calls),
    ("wardgate_instance_readings_total", Counter, "Numeric readings taken, absent ones included.", |i| i.readings),
    ("wardgate_instance_samples_total", Counter, "Waveform samples taken.", |i| i.samples),
    ("wardgate_instance_alerts_total", Counter, "Alerts of the device that were forwarded.", |i| i.alerts),
    ("wardgate_instance_faults_total", Counter, "Calls that the plugin lost by a fault of its own.", |i| i.faults),
    ("wardgate_instance_restarts_total", Counter, "Restarts of the plugin after a fault.", |i| i.restarts),
    ("wardgate_instance_refusals_total", Counter, "Requests and frames to the device that no grant permits.", |i| i.refusals),
    ("wardgate_instance_overruns_total", Counter, "Times that the instance's inbox overflowed.", |i| i.overruns),
    ("wardgate_instance_inputs", Gauge, "Channels of other instances that a filter is to hear.", |i| i.inputs),
    ("wardgate_instance_inputs_heard", Gauge, "Of them, those that it hears now.", |i| i.inputs_heard),
    ("wardgate_instance_withheld_values_total", Counter, "Values of personal channels that were dropped, not granted.", |i| i.withheld),
    ("wardgate_instance_raw_withheld_bytes_total", Counter, "Bytes as the device sent them that were dropped, not granted.", |i| {
        i.raw_withheld
    }),
    ("wardgate_instance_unchanged_values_total", Counter, "Readings not sent because they were no change, as configured.", |i| i.unchanged),
    ("wardgate_instance_not_taken_values_total", Counter, "Values, samples and alerts not taken because the disk was full.", |i| {
        i.not_taken
    }),
    ("wardgate_instance_parked_values", Gauge, "Values that wait until a person says whose device it is.", |i| i.parked),
    ("wardgate_instance_parked_expired_values_total", Counter, "Parked values that nobody claimed in time.", |i| i.parked_expired),
    ("wardgate_instance_gaps_open", Gauge, "Streams that lost something and have said nothing since.", |i| i.gaps_open),
];

type OfLink = (&'static str, Kind, &'static str, fn(&LinkStatus) -> u64);

const LINKS: &[OfLink] = &[
    ("wardgate_link_up", Gauge, "1 while the line is up.", |l| l.up.into()),
    ("wardgate_link_requests_total", Counter, "Requests sent on the line (Modbus), or to the peripheral (Bluetooth).", |l| l.requests),
    ("wardgate_link_answered_total", Counter, "Requests that were answered.", |l| l.answered),
    ("wardgate_link_exceptions_total", Counter, "Requests that the device answered with an exception.", |l| l.exceptions),
    ("wardgate_link_timeouts_total", Counter, "Requests that were not answered in time.", |l| l.timeouts),
    ("wardgate_link_malformed_total", Counter, "Answers that could not be read.", |l| l.malformed),
    ("wardgate_link_refused_total", Counter, "Requests and frames that no grant permits.", |l| l.refused),
    ("wardgate_link_strays_total", Counter, "Frames and bytes that belong to no request: late, foreign, noise.", |l| l.strays),
    ("wardgate_link_questionable_total", Counter, "Answers taken although their checksum was wrong, as a grant allows.", |l| {
        l.questionable
    }),
    ("wardgate_link_skipped_total", Counter, "Requests not made because their server is set aside.", |l| l.skipped),
    ("wardgate_link_servers_aside", Gauge, "Servers that are set aside now, and probed at intervals.", |l| l.aside.len() as u64),
    ("wardgate_link_busy_microseconds_total", Counter, "How long a bus was taken by transactions; its rate is the utilisation.", |l| {
        l.busy_us
    }),
    ("wardgate_link_worst_wait_milliseconds", Gauge, "The longest that a request waited for its turn on a bus.", |l| l.worst_wait_ms),
    ("wardgate_link_received_bytes_total", Counter, "Bytes that came in on the line.", |l| l.bytes_in),
    ("wardgate_link_sent_bytes_total", Counter, "Bytes that went out on the line.", |l| l.bytes_out),
    ("wardgate_link_reconnects_total", Counter, "Times that the line came back.", |l| l.reconnects),
    ("wardgate_link_notifications_total", Counter, "Notifications, indications and broadcasts that came (Bluetooth).", |l| l.notifications),
];

type OfGateway = (&'static str, Kind, &'static str, fn(&Snapshot) -> u64);

const GATEWAY: &[OfGateway] = &[
    ("wardgate_unsigned_plugins_allowed", Gauge, "1 where plugins without a signature may run.", |s| s.allow_unsigned.into()),
    ("wardgate_developer_mode", Gauge, "1 in developer mode, which no ward runs in.", |s| s.developer_mode.into()),
    ("wardgate_compiler_walls_missing", Gauge, "1 where the compiler of plugins lacks a wall that it should have.", |s| {
        (!s.compiler_lacks.is_empty()).into()
    }),
    (
        "wardgate_trust_stale",
        Gauge,
        "1 while nothing new is taken, of anybody or of one vendor: the fleet's metadata or its list is not fresh, or what was seen here is not known.",
        |s| (matches!(s.trust.state.as_str(), "trust-stale" | "blind") || !s.trust.stale_vendors.is_empty()).into(),
    ),
    ("wardgate_revoked_running", Gauge, "Instances that run although their key or release was revoked.", |s| {
        s.instances.values().filter(|i| !i.revoked.is_empty()).count() as u64
    }),
    ("wardgate_withheld_instances", Gauge, "Instances that are configured and may not run.", |s| {
        s.instances.values().filter(|i| i.state == "withheld").count() as u64
    }),
    ("wardgate_configuration_changed", Gauge, "1 while gateway.toml on disk is not the one that runs.", |s| s.config_changed.into()),
    ("wardgate_audit_records_total", Counter, "Records in the audit log; it never goes back.", |s| s.audit.records),
    ("wardgate_audit_broken", Gauge, "1 where the audit log was once not as the device had left it.", |s| {
        (!s.audit.broken.is_empty()).into()
    }),
    ("wardgate_radio_strangers_dropped_total", Counter, "Bluetooth devices that nobody named or bonded, let go for want of room.", |s| {
        s.radio.strangers_dropped
    }),
    ("wardgate_epoch", Gauge, "Number of the present epoch of this life.", |s| s.epoch.into()),
    ("wardgate_store_commits_total", Counter, "Groups made durable.", |s| s.store.commits),
    ("wardgate_store_failed_flushes_total", Counter, "Commits that the disk refused; each was tried again.", |s| s.store.failed_flushes),
    ("wardgate_store_written_bytes_total", Counter, "Bytes written to the store.", |s| s.store.bytes_written),
    ("wardgate_store_disk_bytes", Gauge, "What the store takes of the disk.", |s| s.store.bytes_on_disk),
    ("wardgate_store_reserve_bytes", Gauge, "Given by the disk and kept for alerts and the ledger.", |s| s.store.reserve_bytes),
    ("wardgate_store_shortage", Gauge, "0 while everything is taken; 1: no waveforms; 2: alerts only; 3: nothing.", |s| s.store.shortage()),
    ("wardgate_store_waiting_batches", Gauge, "Batches that the receiver has not acknowledged.", |s| s.store.batches_waiting),
    ("wardgate_store_waiting_bytes", Gauge, "Bytes of batches that the receiver has not acknowledged.", |s| s.store.bytes_waiting),
    ("wardgate_uplink_connected", Gauge, "1 while the broker is connected.", |s| s.uplink.connected.into()),
    ("wardgate_uplink_connects_total", Counter, "Connections made to the broker.", |s| s.uplink.connects),
    ("wardgate_uplink_published_batches_total", Counter, "Batches published, repeats included.", |s| s.uplink.batches_published),
    ("wardgate_uplink_acknowledged_batches_total", Counter, "Batches that the receiver acknowledged.", |s| s.uplink.batches_acknowledged),
    ("wardgate_uplink_repeated_batches_total", Counter, "Batches published again.", |s| s.uplink.batches_repeated),
    ("wardgate_uplink_payload_bytes_total", Counter, "Bytes of batches published.", |s| s.uplink.payload_bytes),
    ("wardgate_uplink_acknowledgements_refused_total", Counter, "Acknowledgements that were forged, foreign or not readable.", |s| {
        s.uplink.acknowledgements_refused
    }),
    ("wardgate_uplink_acknowledgements_without_news_total", Counter, "Genuine acknowledgements of what was no longer held.", |s| {
        s.uplink.acknowledgements_without_news
    }),
];

/// Every family is there from the start, also one without samples.
fn exposition(s: &Snapshot, links: &LinkNames) -> String {
    let mut page = Page(String::new());
    page.family("wardgate_build_info", &Gauge, "Always 1; the version is in the label.");
    page.sample("wardgate_build_info", &[("version", &s.version)], 1);
    let up_ns = s.monotonic_ns.saturating_sub(s.started_monotonic_ns);
    page.one("wardgate_uptime_seconds", &Gauge, "Time since the gateway started.", up_ns as f64 / 1e9);
    for (name, kind, help, value) in GATEWAY {
        page.one(name, kind, help, value(s));
    }
    instances(&mut page, s);
    for (name, kind, help, value) in LINKS {
        page.family(name, kind, help);
        for (key, l) in &s.links {
            if let Some(link) = links.get(key) {
                page.sample(name, &[("link", link), ("kind", &l.kind)], value(l));
            }
        }
    }
    let name = "wardgate_link_rssi_dbm";
    page.family(name, &Gauge, "How strongly a Bluetooth peripheral was received, in the last five minutes: BlueZ measures it before a link is up and in broadcasts, not on a link.");
    for (key, l) in &s.links {
        if let (Some(link), Some(dbm)) = (links.get(key), l.rssi_dbm) {
            page.sample(name, &[("link", link), ("kind", &l.kind)], dbm);
        }
    }
    page.0
}

fn instances(page: &mut Page, s: &Snapshot) {
    page.family("wardgate_instance_state", &Gauge, "1 for the state that the instance is in.");
    for (instance, i) in &s.instances {
        page.sample("wardgate_instance_state", &[("instance", instance), ("state", &i.state)], 1);
    }
    for (name, kind, help, value) in INSTANCES {
        page.family(name, kind, help);
        for (instance, i) in &s.instances {
            page.sample(name, &[("instance", instance)], value(i));
        }
    }
    let name = "wardgate_instance_newest_value_age_seconds";
    page.family(name, &Gauge, "Time since the newest value; not there before the first.");
    for (instance, i) in s.instances.iter().filter(|(_, i)| i.newest_monotonic_ns > 0) {
        page.sample(name, &[("instance", instance)], s.monotonic_ns.saturating_sub(i.newest_monotonic_ns) as f64 / 1e9);
    }
    let name = "wardgate_instance_gaps_total";
    page.family(name, &Counter, "Gaps that the ledger told of, by reason.");
    for (instance, i) in &s.instances {
        for reason in GapReason::ALL.iter().map(|r| r.name()) {
            page.sample(name, &[("instance", instance), ("reason", reason)], i.gaps.get(reason).copied().unwrap_or(0));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_strictly() {
        assert_eq!(asked(b"GET /metrics HTTP/1.1"), Ok(false));
        assert_eq!(asked(b"HEAD /metrics?name[]=x HTTP/1.0"), Ok(true));
        for (line, code) in [
            (&b"POST /metrics HTTP/1.1"[..], "405"),
            (b"GET / HTTP/1.1", "404"),
            (b"GET /metricsx HTTP/1.1", "404"),
            (b"GET /metrics HTTP/2", "400"),
            (b"GET /metrics", "400"),
            (b"GET  /metrics HTTP/1.1", "400"),
            (b"\xff\xfe", "400"),
            (b"", "400"),
        ] {
            assert!(asked(line).is_err_and(|(c, ..)| c.starts_with(code)), "{}", String::from_utf8_lossy(line));
        }
    }

    #[test]
    fn a_serial_port_is_named_by_its_instance_and_labels_are_escaped() {
        let mut s = Snapshot { version: "1\"\\\n".into(), ..Snapshot::default() };
        let port = "/dev/serial/by-id/usb-SECRET-SERIAL";
        s.links.insert(port.into(), LinkStatus { kind: "serial".into(), target: port.into(), bytes_in: 7, ..LinkStatus::default() });
        let page = exposition(&s, &[(port.to_owned(), "bed-1".to_owned())].into());
        assert!(page.contains("wardgate_build_info{version=\"1\\\"\\\\\\n\"} 1\n"), "{page}");
        assert!(page.contains("wardgate_link_received_bytes_total{link=\"bed-1\",kind=\"serial\"} 7\n"), "{page}");
        assert!(!page.contains("SECRET"), "{page}");
    }
}
