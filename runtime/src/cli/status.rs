//! `wardgate status`: asks the running gateway over its local socket.

use std::fmt::Write as _;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::config::Config;
use crate::console::socket_path;
use crate::fault::{Fault, Guilty};
use crate::status::Snapshot;

/// The gateway answers from memory; longer means that it hangs.
const ANSWER_S_MAX: u64 = 3;

#[derive(Args)]
pub struct Status {
    /// The gateway's configuration: says where its state folder lies
    #[arg(long, short, default_value = "/etc/wardgate/gateway.toml")]
    config: PathBuf,
    /// The state folder itself, instead of a configuration
    #[arg(long)]
    state: Option<PathBuf>,
    /// One line of JSON instead of a table
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Status) -> Result<(), Fault> {
    let state = match &args.state {
        Some(state) => state.clone(),
        None => Config::load(&args.config)?.gateway.state,
    };
    let line = ask(&state)?;
    if args.json {
        print!("{line}");
        return Ok(());
    }
    let snapshot = serde_json::from_str(&line).map_err(|e| {
        Fault::new(Guilty::Internal, format!("the gateway's answer is not understood: {e}"), "is `wardgate` as new as the running gateway?")
    })?;
    print!("{}", table(&snapshot));
    Ok(())
}

fn ask(state: &std::path::Path) -> Result<String, Fault> {
    let path = socket_path(state);
    let failed = |e: std::io::Error| {
        let what = format!("no gateway answers at {}: {e}", path.display());
        Fault::new(Guilty::Port, what, "is `wardgate run` running with this configuration, and may you read its state folder?")
    };
    let mut socket = UnixStream::connect(&path).map_err(failed)?;
    socket.set_read_timeout(Some(Duration::from_secs(ANSWER_S_MAX))).map_err(failed)?;
    let mut line = String::new();
    socket.read_to_string(&mut line).map_err(failed)?;
    Ok(line)
}

fn table(s: &Snapshot) -> String {
    let mut out = String::new();
    let up_s = s.monotonic_ns.saturating_sub(s.started_monotonic_ns) / 1_000_000_000;
    let unsigned = if s.allow_unsigned { "   UNSIGNED PLUGINS ALLOWED" } else { "" };
    let _ = writeln!(out, "{} (wardgate {}), life {}, epoch {}, up {up_s} s{unsigned}", s.gateway, s.version, s.life, s.epoch);
    if s.memory_profile == "compact" {
        let _ = writeln!(out, "plugins  compact memory profile: little address space here, so tight loops take up to twice as long");
    }
    let up = &s.uplink;
    let link = if up.connected { "connected" } else { "NOT CONNECTED" };
    let _ = writeln!(
        out,
        "uplink   {link} to {}, {} batches published, {} acknowledged, {} repeated",
        up.broker, up.batches_published, up.batches_acknowledged, up.batches_repeated
    );
    if !up.last_error.is_empty() {
        let _ = writeln!(out, "         last error: {}", up.last_error);
    }
    let st = &s.store;
    let _ = writeln!(
        out,
        "store    {} batches ({} bytes) waiting, {} commits, {} bytes on disk",
        st.batches_waiting, st.bytes_waiting, st.commits, st.bytes_on_disk
    );
    if !st.last_error.is_empty() {
        let _ = writeln!(out, "         last error: {}", st.last_error);
    }
    let wide = s.instances.keys().map(String::len).max().unwrap_or(0).max(8);
    let _ = writeln!(
        out,
        "\n{:wide$}  {:10} {:4} {:>10} {:>12} {:>7} {:>8} {:>8} {:>9}",
        "instance", "state", "link", "readings", "samples", "alerts", "restarts", "refusals", "newest"
    );
    for (name, i) in &s.instances {
        let newest = match i.newest_monotonic_ns {
            0 => "-".to_owned(),
            at => format!("{:.1} s", s.monotonic_ns.saturating_sub(at) as f64 / 1e9),
        };
        let link = if i.link_up { "up" } else { "DOWN" };
        let _ = writeln!(
            out,
            "{name:wide$}  {:10} {link:4} {:>10} {:>12} {:>7} {:>8} {:>8} {newest:>9}",
            i.state, i.readings, i.samples, i.alerts, i.restarts, i.refusals
        );
        if !i.detail.is_empty() {
            let _ = writeln!(out, "{:wide$}  {}", "", i.detail);
        }
    }
    out.push('\n');
    for (name, l) in &s.links {
        let up = if l.up { "up" } else { "DOWN" };
        let _ = write!(out, "{} {up}: ", if l.target.starts_with(name) { l.target.clone() } else { format!("{name} ({})", l.target) });
        if l.kind.starts_with("modbus") {
            let _ = write!(
                out,
                "{} requests, {} answered, {} time-outs, {} exceptions, {} malformed, ",
                l.requests, l.answered, l.timeouts, l.exceptions, l.malformed
            );
        }
        let _ = writeln!(out, "{} refused, {} bytes in, {} out, {} reconnects", l.refused, l.bytes_in, l.bytes_out, l.reconnects);
        if !l.last_error.is_empty() {
            let _ = writeln!(out, "         last error: {}", l.last_error);
        }
    }
    out
}
