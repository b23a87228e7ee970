//! `wardgate ble`: who is near, pairing, what is bonded. It speaks to BlueZ itself, so a gateway may run beside it or not.

use std::io::{self, BufRead as _, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::paint::{Paint, clip, left, plain, right, table};
use crate::capability::ble::{Grant, Paired, Person, PersonError, Question, Seen};
use crate::config::{Config, Instance, Pairing};
use crate::contract::printable;
use crate::fault::{Fault, Guilty};

const SCAN_S_MAX: u64 = 600; // a person who waits longer has gone
const LINES_MAX: u32 = 3; // that are not six digits: the peripheral waits for 30 s
const NAME_BYTES_MAX: usize = 60; // of a prompt's line

#[derive(Args)]
#[command(after_help = "\
Examples:
  wardgate ble scan                            who is near, the strongest first, and whose they are by gateway.toml
  wardgate ble pair C0:98:E5:00:00:01          compare or type six digits, as the peripheral asks
  wardgate ble pair bed-1-glucose              the peripheral whose address gateway.toml gives this instance
  wardgate ble list                            what is bonded with this gateway
  wardgate ble forget C0:98:E5:00:00:01        the bond is gone; to pair again, let the peripheral forget it too

BlueZ keeps the keys, the gateway how each bond was made: a bond of another program, or one weaker than the site asks, is not used.
`pairing` below [ble] in gateway.toml says which ways to pair are good enough; by default none is.")]
pub struct Ble {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Args)]
struct At {
    /// The gateway's configuration: which adapter, which ways to pair, whose peripheral is whose
    #[arg(long, short, default_value = "/etc/wardgate/gateway.toml")]
    config: PathBuf,
}

#[derive(Subcommand)]
enum Verb {
    /// Who is near
    Scan {
        /// How long to listen, in seconds
        #[arg(long = "for", default_value_t = 10, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=SCAN_S_MAX))]
        seconds: u64,
        /// JSON instead of a table
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        at: At,
    },
    /// Pair a peripheral, and keep the bond
    Pair {
        /// Its address, the instance whose it is, or the name that it advertises
        target: String,
        #[command(flatten)]
        at: At,
    },
    /// What is bonded
    List {
        /// JSON instead of a table
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        at: At,
    },
    /// Forget a peripheral and its bond
    Forget {
        /// Its address, the instance whose it is, or its name
        target: String,
        #[command(flatten)]
        at: At,
    },
}

pub fn run(args: &Ble) -> Result<(), Fault> {
    let (Verb::Scan { at, .. } | Verb::Pair { at, .. } | Verb::List { at, .. } | Verb::Forget { at, .. }) = &args.verb;
    let config = Config::load(&at.config)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Fault::new(Guilty::Internal, format!("no threads: {e}"), "look at the limits of this process (ulimit -u)"))?;
    let done = runtime.block_on(carried_out(&args.verb, &config));
    runtime.shutdown_timeout(Duration::ZERO); // a person may still be asked what nobody waits for any more
    done.map_err(|why| {
        let of_the_site = matches!(
            why,
            PersonError::NotAllowed
                | PersonError::Weak { .. }
                | PersonError::Undone { .. }
                | PersonError::Older { .. }
                | PersonError::OfAPool { .. }
        );
        let guilty = if of_the_site { Guilty::Configuration } else { Guilty::Port };
        Fault::new(guilty, &why, why.remedy())
    })
}

async fn carried_out(verb: &Verb, config: &Config) -> Result<(), PersonError> {
    if matches!(verb, Verb::Pair { .. }) && config.ble.pairing == Pairing::None {
        return Err(PersonError::NotAllowed); // before a person has switched anything on
    }
    let person = Person::at(&config.ble).await?;
    match verb {
        Verb::Scan { seconds, json, .. } => {
            show(&person.scan(*seconds).await?, config, *json, "nobody is near; let the peripheral advertise")
        }
        Verb::List { json, .. } => show(&person.list().await?, config, *json, "nothing is bonded with this gateway"),
        Verb::Pair { target, .. } => {
            println!("looking for {target} ...");
            let Paired { seen, by, already } = person.pair(target, address(config, target)?, Arc::new(asked)).await?;
            let by = if by == Pairing::JustWorks { "just works" } else { by.name() };
            let name = printable(&seen.name, NAME_BYTES_MAX);
            match already {
                false => println!("paired with {} ({name}): {by}", seen.address),
                true => println!("{} ({name}) is paired already, by {by}", seen.address),
            }
            match Owner::of(config, &seen) {
                Owner::Instance(_) => {}
                Owner::Pools(names) => {
                    println!("it fits the pool of {}; whose it is a person confirms: wardgate bind list", names.join(", "));
                }
                Owner::Nobody => {
                    println!("no instance of gateway.toml names it: below [instance.NAME.grants.ble] write address = \"{}\"", seen.address);
                }
            }
        }
        Verb::Forget { target, .. } => {
            let seen = person.forget(address(config, target)?.unwrap_or(target)).await?;
            println!("forgot {} ({})", seen.address, printable(&seen.name, NAME_BYTES_MAX));
        }
    }
    Ok(())
}

/// Of an instance the address that its grant names; None: the target is no instance with a peripheral.
fn address<'a>(config: &'a Config, target: &str) -> Result<Option<&'a str>, PersonError> {
    match config.instances.get(target).and_then(|instance| instance.grants.ble.as_ref()) {
        Some(grant) => grant.address.as_deref().map(Some).ok_or(PersonError::OfAPool { instance: target.to_owned() }),
        None => Ok(None),
    }
}

/// Whose a peripheral is by gateway.toml.
enum Owner<'a> {
    /// It is named by its address, so no pool takes it.
    Instance(&'a str),
    /// It fits the pools of these.
    Pools(Vec<&'a str>),
    Nobody,
}

impl<'a> Owner<'a> {
    fn of(config: &'a Config, seen: &Seen) -> Self {
        let grant = |name: &str, i: &Instance| i.grants.ble.as_ref().and_then(|from| Grant::new(name, from).ok());
        let fits = |(name, i): &(&String, &Instance)| grant(name, i).is_some_and(|grant| seen.fits(&grant));
        let (pools, named): (Vec<_>, Vec<_>) = config.instances.iter().filter(fits).partition(|(_, i)| i.is_of_a_pool());
        match named.first() {
            Some((name, _)) => Self::Instance(name),
            None if pools.is_empty() => Self::Nobody,
            None => Self::Pools(pools.into_iter().map(|(name, _)| name.as_str()).collect()),
        }
    }

    fn words(&self) -> String {
        match self {
            Self::Instance(name) => (*name).to_owned(),
            Self::Pools(names) => format!("pool of {}", names.join(", ")),
            Self::Nobody => "nobody's".to_owned(),
        }
    }
}

fn show(all: &[Seen], config: &Config, json: bool, none: &str) {
    if json {
        let all: Vec<_> = all.iter().map(|s| as_json(s, &Owner::of(config, s))).collect();
        println!("{}", serde_json::to_string(&all).expect("plain texts"));
    } else if all.is_empty() {
        println!("{none}");
    } else {
        println!("{}", page(all, config, Paint::of_stdout()).join("\n"));
    }
}

fn as_json(s: &Seen, owner: &Owner<'_>) -> serde_json::Value {
    let instance = if let Owner::Instance(name) = owner { Some(name) } else { None };
    let pools = if let Owner::Pools(names) = owner { names.as_slice() } else { &[] };
    serde_json::json!({
        "address": s.address, "name": s.name, "rssi_dbm": s.rssi_dbm, "services": s.services, "manufacturers": s.manufacturers,
        "bonded": s.bonded, "paired_by": s.by.map(Pairing::name), "connected": s.connected, "instance": instance, "pools": pools,
    })
}

fn page(all: &[Seen], config: &Config, paint: Paint) -> Vec<String> {
    let columns = [
        left("address", 17),
        left("name", 20),
        right("dBm"),
        left("bonded", 10),
        left("link", 4),
        left("instance", 24),
        left("services", 16),
    ];
    let rows: Vec<_> = (all.iter())
        .map(|s| {
            [
                plain(&s.address),
                plain(clip(if s.name.is_empty() { "-" } else { &s.name }, 20)),
                plain(s.rssi_dbm.map_or("-".into(), |dbm| dbm.to_string())),
                plain(if s.bonded { s.by.map_or("by others", Pairing::name) } else { "no" }),
                plain(if s.connected { "up" } else { "-" }),
                plain(Owner::of(config, s).words()),
                plain(clip(&services(s), 16)),
            ]
        })
        .collect();
    table(&columns, &rows, paint)
}

/// Those of two bytes, which people know; of the rest how many.
fn services(s: &Seen) -> String {
    let (known, long): (Vec<_>, Vec<_>) = s.services.iter().partition(|service| service.len() == 4);
    let known = known.iter().map(|s| s.as_str()).collect::<Vec<_>>().join(" ");
    if long.is_empty() { known } else { format!("{known} +{}", long.len()) }
}

/// On a thread of its own; None is a no.
fn asked(question: Question) -> Option<u32> {
    let (prompt, compares) = match question {
        Question::Passkey { name } => (format!("Passkey shown by {} (6 digits): ", printable(&name, NAME_BYTES_MAX)), None),
        Question::Compare { name, passkey } => {
            (format!("Does {} show {passkey:06}? [yes/no] ", printable(&name, NAME_BYTES_MAX)), Some(passkey))
        }
        Question::Type { name, passkey } => {
            println!("Type {passkey:06} at {}", printable(&name, NAME_BYTES_MAX));
            return Some(passkey);
        }
    };
    if let Some(passkey) = compares {
        let line = line_after(&prompt)?;
        return (line.eq_ignore_ascii_case("yes") || line.eq_ignore_ascii_case("y")).then_some(passkey);
    }
    for left in (0..LINES_MAX).rev() {
        let line = line_after(&prompt)?;
        if let Some(passkey) = six_digits(&line) {
            return Some(passkey);
        }
        println!("that is not six digits{}", if left == 0 { "" } else { ": once more" });
    }
    None
}

/// What was typed, without the spaces around it; None: nobody is there any more.
fn line_after(prompt: &str) -> Option<String> {
    print!("{prompt}");
    io::stdout().flush().ok()?;
    let mut line = String::new();
    let read = io::stdin().lock().read_line(&mut line).ok()?;
    (read > 0).then(|| line.trim().to_owned())
}

/// Some devices show them in two groups.
fn six_digits(line: &str) -> Option<u32> {
    let digits: String = line.split_whitespace().collect();
    let six = digits.len() == 6 && digits.bytes().all(|b| b.is_ascii_digit());
    six.then(|| digits.parse().ok())?
}
