//! `wardgate ble`: who is near, pairing, what is bonded. It speaks to BlueZ itself, so a gateway may run beside it or not.

use std::io::{self, BufRead as _, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::paint::{Paint, clip, left, plain, right, table};
use crate::capability::ble::{Answer, Grant, Paired, Person, PersonError, Question, Seen, service_name};
use crate::config::{Config, Instance, Pairing, nearest};
use crate::contract::printable;
use crate::fault::{Fault, Guilty};

const SCAN_S_MAX: u64 = 600; // a person who waits longer has gone
const LINES_MAX: u32 = 3; // that are not six digits: the peripheral waits for 30 s
const NAME_BYTES_MAX: usize = 60; // of a prompt's line
/// How it was bonded could not be read.
const UNREAD: &str = "unknown";
const SERVICES_WIDTH: usize = 32;
/// Device Information, Battery, Generic Access, Generic Attribute: they say nothing of what a device is, and do not push out what does.
const EVERYBODYS: [&str; 4] = ["180a", "180f", "1800", "1801"];

#[derive(Args)]
#[command(after_help = "\
Examples:
  wardgate ble scan                            who is near, the strongest first, and whose they are by gateway.toml
  wardgate ble pair C0:98:E5:00:00:01          compare or type six digits, as the peripheral asks
  wardgate ble pair bed-1-glucose              the peripheral whose address gateway.toml gives this instance
  wardgate ble list                            what is bonded with this gateway, and how
  wardgate ble forget C0:98:E5:00:00:01        the bond is gone; to pair again, let the peripheral forget it too

BlueZ keeps the keys, the gateway how each bond was made: a bond of another program, or one weaker than the site asks, is not used.
`pairing` below [ble] in gateway.toml says which ways to pair are good enough; by default none is: nobody may pair, and of the bonds that are there
those count that were made by comparing or typing six digits, not those that just worked.
An adapter that is switched off is switched on for this, and stays on. A gateway may run beside it.")]
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
    /// Show who is near
    #[command(after_help = "\
Bluetooth LE devices only, also those of patients and visitors; nothing of them is kept. `bonded` is no, how `wardgate ble pair` paired it, or
\"by others\": another program did, and where the grant says bonded = true that is not used; \"unknown\": a line beside the table says why. `link` is up while somebody has it connected; such a one
does not advertise, and may be missing here. `instance` is whose it is by gateway.toml, or of which pool it may be one.")]
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
    #[command(after_help = "\
Have it near, switched on, connected to nothing else (a telephone is), and ready to be paired, as its manual says: often a button. It decides how it
pairs: it shows six digits that you type here, or both show six digits that you compare, or it just pairs; you have half a minute. What is weaker
than `pairing` below [ble] asks for is refused, and says so. A gateway that waits for the bond uses it as soon as it is made. The link that pairing
made stays up for it: where no gateway runs, `bluetoothctl disconnect ADDRESS` ends that.")]
    Pair {
        /// Its address, the instance whose it is, or the name that it advertises
        target: String,
        #[command(flatten)]
        at: At,
    },
    /// Show what is bonded with this gateway's adapter
    #[command(after_help = "\
`bonded` is how `wardgate ble pair` paired it, or \"by others\": another program did, or it is not known how, and where the grant says bonded = true
that is not used. Forget it and pair it here. \"unknown\": a line beside the table says why that cannot be read.")]
    List {
        /// JSON instead of a table
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        at: At,
    },
    /// Forget a peripheral and its bond
    #[command(after_help = "\
The gateway does not speak any more to a peripheral that must be bonded. The peripheral keeps its half of the bond: let it forget this gateway too,
as its manual says, or it may refuse to be paired again.")]
    Forget {
        /// Its address, the instance whose it is, or the name that it advertises
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
                | PersonError::NoPeripheral { .. }
        );
        let guilty = if of_the_site { Guilty::Configuration } else { Guilty::Port };
        Fault::new(guilty, &why, format!("{}{}", meant(&why, &config), why.remedy()))
    })
}

/// Whoever mistyped an instance's name looked for a peripheral that is called so.
fn meant(why: &PersonError, config: &Config) -> String {
    let (PersonError::NotFound { target } | PersonError::Unknown { target }) = why else { return String::new() };
    let known = config.instances.iter().filter(|(_, i)| i.grants.ble.is_some()).map(|(name, _)| name.as_str());
    nearest(target, known).map(|name| format!("no instance is called so; was \"{name}\" meant? Or: ")).unwrap_or_default()
}

async fn carried_out(verb: &Verb, config: &Config) -> Result<(), PersonError> {
    if matches!(verb, Verb::Pair { .. }) && config.ble.pairing == Pairing::None {
        return Err(PersonError::NotAllowed); // before a person has switched anything on
    }
    let person = match verb {
        Verb::List { .. } => Person::looking(&config.ble).await?,
        _ => Person::at(&config.ble).await?,
    };
    match verb {
        Verb::Scan { seconds, json, .. } => {
            let none = format!("no Bluetooth LE device was heard in {seconds} s: switch it on, and let it be found, as its manual says");
            let all = person.scan(*seconds).await?;
            told_unread(&person, &all);
            show(&all, config, *json, &none)
        }
        Verb::List { json, .. } => {
            let all = person.list().await?;
            told_unread(&person, &all);
            show(&all, config, *json, &format!("nothing is bonded with this gateway ({})", person.adapter()))
        }
        Verb::Pair { target, .. } => {
            println!("looking for {target} ...");
            let Paired { seen, by, already } = person.pair(target, address(config, target)?, Arc::new(asked)).await?;
            let by = if by == Pairing::JustWorks { "just works" } else { by.name() };
            let name = printable(seen.called(), NAME_BYTES_MAX);
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
            println!("forgot {} ({})", seen.address, printable(seen.called(), NAME_BYTES_MAX));
        }
    }
    Ok(())
}

/// Of an instance the address that its grant names; None: the target is no instance.
fn address<'a>(config: &'a Config, target: &str) -> Result<Option<&'a str>, PersonError> {
    let Some(instance) = config.instances.get(target) else { return Ok(None) };
    let instance_name = || target.to_owned();
    match &instance.grants.ble {
        Some(grant) => grant.address.as_deref().map(Some).ok_or_else(|| PersonError::OfAPool { instance: instance_name() }),
        None => Err(PersonError::NoPeripheral { instance: instance_name() }),
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

/// One line, beside a list that is good for all the rest.
fn told_unread(person: &Person, all: &[Seen]) {
    if let Some(why) = person.unread().filter(|_| all.iter().any(|s| s.unread)) {
        eprintln!("wardgate: {why}. What to do: {}", why.remedy());
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
        "bonded": s.bonded, "paired_by": if s.unread { Some(UNREAD) } else { s.by.map(Pairing::name) }, "connected": s.connected, "instance": instance, "pools": pools,
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
        left("services", SERVICES_WIDTH),
    ];
    let rows: Vec<_> = (all.iter())
        .map(|s| {
            [
                plain(&s.address),
                plain(clip(if s.name.is_empty() { "-" } else { &s.name }, 20)),
                plain(s.rssi_dbm.map_or("-".into(), |dbm| dbm.to_string())),
                plain(bonded(s)),
                plain(if s.connected { "up" } else { "-" }),
                plain(Owner::of(config, s).words()),
                plain(clip(&services(s), SERVICES_WIDTH)),
            ]
        })
        .collect();
    table(&columns, &rows, paint)
}

fn bonded(s: &Seen) -> &'static str {
    match s.by {
        _ if !s.bonded => "no",
        _ if s.unread => UNREAD,
        by => by.map_or("by others", Pairing::name),
    }
}

/// Those of two bytes, by their names, and last what nearly every device has; of the rest how many.
fn services(s: &Seen) -> String {
    let (mut known, long): (Vec<_>, Vec<_>) = s.services.iter().partition(|service| service.len() == 4);
    known.sort_by_key(|service| EVERYBODYS.iter().position(|common| *common == service.as_str())); // none is before all
    let known = known.iter().map(|s| service_name(s)).collect::<Vec<_>>().join(", ");
    if long.is_empty() { known } else { format!("{known} +{}", long.len()) }
}

/// On a thread of its own.
fn asked(question: Question) -> Answer {
    let (prompt, compares) = match question {
        Question::Passkey { name } => (format!("Passkey shown by {} (6 digits): ", printable(&name, NAME_BYTES_MAX)), None),
        Question::Compare { name, passkey } => {
            (format!("Does {} show {passkey:06}? [yes/no] ", printable(&name, NAME_BYTES_MAX)), Some(passkey))
        }
        Question::Type { name, passkey } => {
            println!("Type {passkey:06} at {}", printable(&name, NAME_BYTES_MAX));
            return Answer::Yes(passkey);
        }
    };
    if let Some(passkey) = compares {
        return match line_after(&prompt) {
            Some(line) if line.eq_ignore_ascii_case("yes") || line.eq_ignore_ascii_case("y") => Answer::Yes(passkey),
            Some(_) => Answer::No,
            None => Answer::Nobody,
        };
    }
    for left in (0..LINES_MAX).rev() {
        let Some(line) = line_after(&prompt) else { return Answer::Nobody };
        if let Some(passkey) = six_digits(&line) {
            return Answer::Yes(passkey);
        }
        println!("that is not six digits{}", if left == 0 { "" } else { ": once more" });
    }
    Answer::No
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

#[cfg(test)]
mod tests {
    use super::*;

    //= PROMISES.md#P327
    #[test]
    fn what_a_device_is_stands_before_what_every_device_has() {
        let mut seen = Seen::default();
        seen.services = ["1800", "1801", "180a", "180f", "1810", "6e400001-b5a3-f393-e0a9-e50e24dcca9e", "fe9f"].map(str::to_owned).into();
        assert_eq!(services(&seen), "Blood Pressure, fe9f, Device Information, Battery, Generic Access, Generic Attribute +1");
        assert!(clip(&services(&seen), SERVICES_WIDTH).contains("Blood Pressure"));
    }

    //= PROMISES.md#P324
    #[test]
    fn a_bond_of_which_nothing_can_be_read_is_unknown_and_not_by_others() {
        let mut seen = Seen::default();
        assert_eq!(bonded(&seen), "no");
        seen.bonded = true;
        assert_eq!(bonded(&seen), "by others");
        seen.by = Some(Pairing::Compare);
        assert_eq!(bonded(&seen), "compare");
        (seen.by, seen.unread) = (None, true);
        assert_eq!((bonded(&seen), &as_json(&seen, &Owner::Nobody)["paired_by"]), ("unknown", &serde_json::json!("unknown")));
    }
}
