//! `wardgate audit`: the log of who installed, granted, revoked, refused or bound what.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::site::{device, wrong_key};
use crate::audit::{Anchor, Broken, Record, Whole, readable, verify_beside, verify_file};
use crate::config::Config;
use crate::fault::{Fault, Guilty};
use crate::gateway;
use crate::keys::PublicKey;
use crate::plugin::RECALL;

#[derive(Args)]
#[command(after_help = "\
Each record holds the hash of the one before it. The device signs the first and last record of each life, one in 64, the first of each file, and
which record is the newest. `verify` names the first record that is not as it was written: changed, missing, moved, put in, cut off. When the
gateway itself finds that, it writes on and says so in a record and in each signature from then on; `verify` never calls such a log whole again.

The log is held against trust.memory beside it too, which knows how far the log was; and the log knows how often that was written: either of them put back
alone is named. Both put back together, with all else on the card, are not.

A log given away as one file is proven up to its last signed record. Whoever holds the device's key can write another log: note elsewhere what
`wardgate status --json` says of the newest record, or let Prometheus watch wardgate_audit_records_total.

Examples:
  wardgate audit verify --config /etc/wardgate/gateway.toml
  wardgate audit key --config /etc/wardgate/gateway.toml > ward-3.pub
  wardgate audit verify --key ward-3.pub audit.log
  wardgate audit show --last 20")]
pub struct Audit {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Prove the log from end to end, or name the first bad record
    Verify {
        #[command(flatten)]
        whose: Whose,
    },
    /// Print its records
    Show {
        #[command(flatten)]
        whose: Whose,
        /// Only the newest so many
        #[arg(long, value_name = "N")]
        last: Option<usize>,
        /// As JSON lines
        #[arg(long)]
        json: bool,
    },
    /// Print the device's public key, by which the log is signed
    Key {
        /// The gateway's configuration
        #[arg(long, short, default_value = "/etc/wardgate/gateway.toml")]
        config: PathBuf,
    },
}

/// Which log.
#[derive(Args)]
struct Whose {
    /// The gateway's configuration: its state folder holds the log, and the device's key
    #[arg(long, short, default_value = "/etc/wardgate/gateway.toml")]
    config: PathBuf,
    /// Or one file of a log, or a folder with all of it; then --key says by whom it must be signed
    #[arg(value_name = "FILE", requires = "key")]
    file: Option<PathBuf>,
    /// The device's public key, from `wardgate audit key`
    #[arg(long, value_name = "PUB", requires = "file")]
    key: Option<PathBuf>,
}

impl Whose {
    fn read(&self, known: Option<&Anchor>) -> Result<(Result<Whole, Broken>, PathBuf, PublicKey), Fault> {
        let (path, key) = match (&self.file, &self.key) {
            (Some(file), Some(key)) => (file.clone(), PublicKey::read(key).map_err(|e| wrong_key(&e))?),
            _ => {
                let config = Config::load(&self.config)?;
                (config.gateway.state.clone(), device(&config)?)
            }
        };
        let whole = if path.is_dir() { verify_beside(&path, &key, known) } else { verify_file(&path, &key) };
        Ok((whole, path, key))
    }
}

/// The memory beside the log knows how far the log was, and the log how often the memory was written.
struct Beside {
    known: Option<Anchor>,
    /// Why it is not the newest, where it is not.
    older: Option<String>,
}

impl Beside {
    /// Before the log is read: a gateway that runs writes on, and a log that is read first would end before what the memory knows by then.
    fn read(config: &Path) -> Result<Self, Fault> {
        let config = Config::load(config)?;
        let (memory, _) = gateway::kept(&config.gateway.state, &gateway::device_key_as_it_is(&config)?);
        // a damaged one says nothing; status and `check` tell of it
        let Ok((read, older)) = memory.read_beside() else { return Ok(Self { known: None, older: None }) };
        Ok(Self { known: read.audit.map(|(n, hash)| Anchor { n, hash }), older })
    }
}

fn broken(path: &Path, why: &Broken) -> Fault {
    Fault::new(Guilty::Store, format!("the audit log {} is not whole: {why}", path.display()), why.remedy())
}

pub fn run(args: &Audit) -> Result<(), Fault> {
    match &args.verb {
        Verb::Verify { whose } => {
            let beside = if whose.file.is_none() { Some(Beside::read(&whose.config)?) } else { None };
            let (read, path, key) = whose.read(beside.as_ref().and_then(|beside| beside.known.as_ref()))?;
            // of a log that is whole by itself
            let older = beside
                .and_then(|beside| beside.older)
                .filter(|_| matches!(read, Ok(_) | Err(Broken::PutBack { .. } | Broken::Another { .. })));
            if let Some(why) = older {
                return Err(Fault::new(Guilty::Store, why, RECALL));
            }
            let whole = read.map_err(|why| broken(&path, &why))?;
            let (first, last) = (whole.records.first().map_or(0, |r| r.n), whole.records.last().map_or(0, |r| r.n));
            println!("the audit log {} is whole: records {first} to {last}, {} signed by the device", path.display(), whole.seals);
            println!("    {}", key.id());
            if whole.covered < last {
                println!("records {} to {last} are chained, and no signature covers them yet", whole.covered + 1);
            }
        }
        Verb::Show { whose, last, json } => {
            let (read, path, key) = whose.read(None)?;
            let why = match read {
                Ok(whole) => {
                    show(whole.records.into_iter().map(|record| (record, true)).collect(), *last, *json);
                    return Ok(());
                }
                Err(why) => why,
            };
            // what can be read of it all the same
            if path.is_dir() {
                show(readable(&path, &key), *last, *json);
            }
            return Err(broken(&path, &why));
        }
        Verb::Key { config } => print!("{}", device(&Config::load(config)?)?.pem()),
    }
    Ok(())
}

/// Each with whether a signature of the device vouches for it, where the log is not whole.
fn show(records: Vec<(Record, bool)>, last: Option<usize>, json: bool) {
    let skipped = last.map_or(0, |n| records.len().saturating_sub(n));
    for (record, proven) in &records[skipped..] {
        match (json, proven) {
            (true, true) => println!("{}", serde_json::to_string(record).expect("plain texts")),
            (true, false) => {
                let mut marked = serde_json::to_value(record).expect("plain texts");
                marked["proven"] = false.into();
                println!("{marked}");
            }
            (false, true) => println!("{}", in_words(record)),
            (false, false) => println!("{}  NOT PROVEN", in_words(record)),
        }
    }
}

fn in_words(record: &Record) -> String {
    let when = record.wall.clone().unwrap_or_else(|| format!("clock not set, up {} s", record.up_s));
    let about: Vec<_> = record.about.iter().map(|(name, text)| format!("{name}: {}", crate::contract::printable(text, 400))).collect();
    format!("{:>6}  {when}  {:<13} {}  {}", record.n, record.what.name(), record.by, about.join("; "))
}
