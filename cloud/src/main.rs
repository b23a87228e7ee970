//! `wardgate-cloud`: reads the command line, starts the log, calls a verb, turns an error into an exit code. The only place that reads a clock,
//! draws a random number or starts a thread.

mod cli;

use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use clap::Parser;
use cli::{Cli, Gaps, LogForm, Receive, Verb};
use rustix::time::{ClockId, clock_gettime};
use thiserror::Error;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, mpsc, watch};
use tracing_subscriber::EnvFilter;
use wardgate_cloud::decode::{DecodeError, decode};
use wardgate_cloud::desk::{Desk, Signals};
use wardgate_cloud::gaps::{self, GapsError};
use wardgate_cloud::intake::Intake;
use wardgate_cloud::keeper::{KeepError, Keeper};
use wardgate_cloud::keys::{self, KeyError};
use wardgate_cloud::ledger::days_ns;
use wardgate_cloud::receive::{self, ANSWERS_MAX, Broker, Lines, QUEUE_KIB_MAX, QUEUE_MESSAGES_MAX, ReceiveError};
use wardgate_cloud::show::show;
use wardgate_cloud::status::Around;
use wardgate_cloud::time::Now;

#[derive(Debug, Error)]
enum Failure {
    #[error(transparent)]
    Keys(#[from] KeyError),
    #[error(transparent)]
    Receive(#[from] ReceiveError),
    #[error(transparent)]
    Keep(#[from] KeepError),
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error(transparent)]
    Gaps(#[from] GapsError),
    #[error("--since and --until take {0}")]
    Time(String),
    #[error("cannot read {path}: {why}; give the receiver's user the right to read it")]
    File { path: PathBuf, why: io::Error },
    #[error(
        "--topic {0:?} cannot be used: it takes plain topic levels of at most 64 bytes, such as wardgate/1: no + and #, no empty level, no $ in front"
    )]
    Topic(String),
    #[error("cannot start: {0}")]
    Start(#[from] io::Error),
    #[error("the worker ended in a panic; its message stands above. What was acknowledged is in the raw log; start again")]
    Worker,
}

impl Failure {
    fn code(&self) -> u8 {
        match self {
            Self::Time(_) | Self::Gaps(GapsError::Io { .. } | GapsError::Empty(_)) => 2,
            Self::Keys(_) | Self::Receive(_) | Self::File { .. } | Self::Topic(_) => 2,
            Self::Decode(DecodeError::NotALog(_) | DecodeError::Io { .. }) => 2,
            _ => 1,
        }
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let form = begin_log(cli.log, matches!(cli.verb, Verb::Receive(_)));
    let done = match cli.verb {
        Verb::Receive(of) => run(&of),
        Verb::Decode { input, out } => decode_verb(&input, &out),
        Verb::Show { file } => show(&file).map_err(Failure::from).and_then(|text| print(&text)),
        Verb::Gaps(of) => gaps_verb(&of),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            match form {
                LogForm::Text => eprintln!("wardgate-cloud: {why}"),
                LogForm::Json => tracing::error!("{why}"),
            }
            ExitCode::from(why.code())
        }
    }
}

/// Words for people at a terminal, one JSON object a line for machines. `service`: nobody looks at it but through the log.
fn begin_log(asked: Option<LogForm>, service: bool) -> LogForm {
    let terminal = io::stderr().is_terminal();
    let form = asked.unwrap_or(if service && !terminal { LogForm::Json } else { LogForm::Text });
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    match form {
        LogForm::Text => log.with_ansi(terminal).init(),
        LogForm::Json => {
            log.json().flatten_event(true).with_current_span(false).with_span_list(false).init();
            std::panic::set_hook(Box::new(|panic| tracing::error!("{panic}"))); // a panic is a line like any other
        }
    }
    form
}

fn gaps_verb(of: &Gaps) -> Result<(), Failure> {
    let moment = |text: &Option<String>| text.as_deref().map(|t| gaps::moment(t, now().wall_ns)).transpose().map_err(Failure::Time);
    let (gateway, instance) = (of.gateway.clone(), of.instance.clone());
    let choice = gaps::Choice { gateway, instance, since_ns: moment(&of.since)?, until_ns: moment(&of.until)? };
    if !of.json {
        return print(&gaps::page(&of.out, &choice)?);
    }
    match gaps::lines(&of.out, &choice, &mut io::stdout().lock()) {
        Err(GapsError::Write(why)) if why.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        done => Ok(done?),
    }
}

/// A reader that went away (`| head`) is no failure.
fn print(text: &str) -> Result<(), Failure> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(why) if why.kind() != io::ErrorKind::BrokenPipe => Err(why.into()),
        _ => Ok(()),
    }
}

fn decode_verb(input: &Path, out: &Path) -> Result<(), Failure> {
    let done = decode(input, out)?;
    let mut text = String::new();
    for (id, counts) in &done.walk.counts {
        let tally = done.walk.deriver.tally(id);
        text += &format!(
            "{id}: {} batches, {} values, {} samples, {} alerts, {} gaps ({} unexplained)\n",
            counts.batches, tally.values, tally.samples, tally.alerts, tally.gaps, tally.unexplained
        );
        let waiting = done.walk.deriver.waiting(id);
        if waiting > 0 {
            text += &format!("{id}: {waiting} batches wait for a description that is not in this log\n");
        }
        if counts.undecodable > 0 {
            text += &format!("{id}: {} batches are of a later version: decode them with it\n", counts.undecodable);
        }
    }
    if done.damaged_bytes > 0 {
        text += &format!("{} bytes are no whole record and were stepped over\n", done.damaged_bytes);
    }
    print(&text)
}

fn now() -> Now {
    let ns = |t: rustix::time::Timespec| t.tv_sec.saturating_mul(1_000_000_000).saturating_add(t.tv_nsec);
    let monotonic_ns = ns(clock_gettime(ClockId::Boottime)).unsigned_abs();
    Now { wall_ns: ns(clock_gettime(ClockId::Realtime)), monotonic_ns }
}

/// For names and waits, not for secrets.
fn random() -> u64 {
    let mut bytes = [0; 8];
    match rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()) {
        Ok(8) => u64::from_le_bytes(bytes),
        _ => now().monotonic_ns ^ u64::from(std::process::id()),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(path).map_err(|why| Failure::File { path: path.to_owned(), why })
}

fn broker(of: &Receive) -> Result<Broker, Failure> {
    let topic = of.topic.clone();
    if !wardgate_wire::topics::is_root(&topic) {
        return Err(Failure::Topic(topic));
    }
    let login = match (&of.username, &of.password_file) {
        (Some(user), Some(path)) => {
            let text = String::from_utf8_lossy(&read(path)?).into_owned();
            Some((user.clone(), text.lines().next().unwrap_or_default().to_owned()))
        }
        _ => None,
    };
    let tls = receive::tls(&read(&of.ca)?, &of.ca.display().to_string())?;
    let client_id = format!("wardgate-cloud-{:08x}", random() as u32); // a second receiver must not push the first out
    Ok(Broker { host: of.host.clone(), port: of.port, tls, login, client_id, topic })
}

fn run(of: &Receive) -> Result<(), Failure> {
    let (keys, broker) = (keys::gather(&of.keys, of.key_folder.as_deref())?, broker(of)?);
    let keeper = Keeper::open(&of.out, Intake::new(keys, &of.topic), days_ns(of.store_lost_after_days), now())?;
    tracing::info!(out = %of.out.display(), gateways = keeper.intake.keys().len(), "the log is flushed and read");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let (queue, items) = mpsc::channel(QUEUE_MESSAGES_MAX);
    let (answers, to_send) = mpsc::channel(ANSWERS_MAX);
    let signals = Arc::new(Signals::default());
    let around = Around::default();
    let desk = Desk { keeper, queue: items, answers, signals: signals.clone(), clock: now, status_file: of.status_file.clone(), around };
    let (stop, stopped) = watch::channel(false);
    let failed = stop.clone();
    let desk = std::thread::Builder::new().name("desk".into()).spawn(move || {
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| desk.run()));
        let _ = failed.send(true); // without the desk nothing is received
        done
    })?;
    let room = Arc::new(Semaphore::new(QUEUE_KIB_MAX));
    let lines = Lines { queue: queue.clone(), room, answers: to_send, in_hand: None, signals: signals.clone(), clock: now };
    runtime.block_on(async {
        let (mut term, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let asked = async {
            let mut desk_ended = stopped.clone();
            tokio::select! {
                _ = term.recv() => tracing::info!("SIGTERM: ending in order"),
                _ = interrupt.recv() => tracing::info!("interrupted: ending in order"),
                _ = desk_ended.wait_for(|s| *s) => {}
            }
            signals.stop.store(true, Ordering::Relaxed);
            let _ = stop.send(true);
        };
        tokio::join!(asked, receive::run(&broker, lines, random(), stopped.clone()), receive::ticks(queue, stopped.clone()));
        Ok::<_, io::Error>(())
    })?;
    // the queue's senders are gone: the desk stores what is left and ends
    match desk.join() {
        Ok(Ok(done)) => Ok(done?),
        _ => Err(Failure::Worker),
    }
}
