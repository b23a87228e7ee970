//! `wardgate sbom find`: when a weakness in a crate is published, which plugins here and which gateway have it.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use crate::config::{Config, nearest};
use crate::contract::printable;
use crate::fault::{Fault, Guilty};
use crate::plugin::{self, PACKAGE_ENDING, SBOM_FILE};

/// What this gateway was made of, as its lock file said when it was built.
const GATEWAY: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/crates.rs"));
const VERSION_BYTES_MAX: usize = 40; // a vendor wrote it
const NAME_BYTES_MAX: usize = 64; // the longest that crates.io takes

#[derive(Args)]
pub struct Sbom {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Look for a crate in the bills of materials of all packages here, and in this gateway
    #[command(after_help = "\
Packages are those that gateway.toml names, and all in `[plugins] folder`. A package's bill is its vendor's word, signed with it. The gateway's own is
what its lock file named when it was built, what only its build and other systems need included.

Example:
  wardgate sbom find serde_json --config /etc/wardgate/gateway.toml")]
    Find {
        /// Its name, as NAME or NAME@VERSION; small or large, - or _, as a notice writes it
        #[arg(value_name = "CRATE")]
        name: String,
        /// The gateway's configuration
        #[arg(long, short, default_value = "/etc/wardgate/gateway.toml")]
        config: PathBuf,
    },
}

pub fn run(args: &Sbom) -> Result<(), Fault> {
    let Verb::Find { name, config } = &args.verb;
    let config = Config::load(config)?;
    let asked = Asked::of(name);
    let (mut found, mut known) = (0, BTreeSet::new());
    for (name, version) in GATEWAY {
        known.insert(asked.shown(name, version));
        if asked.is(name, version) {
            println!("wardgate {}: {name} {version}", env!("CARGO_PKG_VERSION"));
            found += 1;
        }
    }
    let folder = &config.plugins.folder;
    let (installed, mut unread) = installed(folder);
    let named = config.instances.values().map(|instance| instance.package.clone());
    let packages: BTreeSet<PathBuf> =
        installed.into_iter().chain(named).filter(|path| path.extension().is_some_and(|e| e == PACKAGE_ENDING)).collect();
    for path in &packages {
        let shown = path.display();
        let bill = plugin::sealed(path).map_err(|why| why.to_string());
        let bill = bill.and_then(|s| {
            s.file(SBOM_FILE).and_then(|f| plugin::bill_crates(&f.bytes)).ok_or_else(|| "its bill cannot be read".to_owned())
        });
        match bill {
            Err(why) => {
                println!("{shown}: NOT KNOWN: {why}");
                unread.push(path.clone());
            }
            Ok(crates) => {
                known.extend(crates.iter().map(|(name, version)| asked.shown(name, version)));
                for (name, version) in crates.iter().filter(|(name, version)| asked.is(name, version)) {
                    let runs: Vec<_> = config.instances.iter().filter(|(_, i)| i.package == *path).map(|(n, _)| n.as_str()).collect();
                    let runs = if runs.is_empty() { "no instance names it".to_owned() } else { format!("runs as {}", runs.join(", ")) };
                    println!("{shown}: {} {} ({runs})", printable(name, NAME_BYTES_MAX), printable(version, VERSION_BYTES_MAX));
                    found += 1;
                }
            }
        }
    }
    let folders = config.instances.iter().filter(|(_, i)| i.package.extension().is_none_or(|e| e != PACKAGE_ENDING));
    for (instance, _) in folders {
        println!("{instance}: NOT KNOWN: its package is a folder, which has no bill of materials");
    }
    println!("{found} found; looked into this gateway ({} crates) and {} packages", GATEWAY.len(), packages.len());
    if found == 0
        && let Some(near) = asked.nearest(&known)
    {
        println!("did you mean {}?", printable(&near, NAME_BYTES_MAX + VERSION_BYTES_MAX));
    }
    if unread.is_empty() {
        return Ok(());
    }
    let unread: Vec<_> = unread.iter().map(|path| path.display().to_string()).collect();
    let what = format!("not all could be looked into: {}", unread.join(", "));
    Err(Fault::new(
        Guilty::Store,
        what,
        format!("run it as root; if it is damaged, take it out of {} and install it again", folder.display()),
    ))
}

/// Crates of a name, of one version where it was said. crates.io takes no two names that differ in case, or in - and _ alone.
struct Asked<'a> {
    name: String,
    version: Option<&'a str>,
}

impl<'a> Asked<'a> {
    fn of(words: &'a str) -> Self {
        let (name, version) = words.split_once('@').map_or((words, None), |(name, version)| (name, Some(version)));
        Self { name: folded(name), version: version.filter(|version| !version.is_empty()) }
    }

    fn is(&self, name: &str, version: &str) -> bool {
        folded(name) == self.name && self.version.is_none_or(|asked| asked == version)
    }

    /// As it would have to be asked for.
    fn shown(&self, name: &str, version: &str) -> String {
        if folded(name) == self.name { format!("{name}@{version}") } else { name.to_owned() }
    }

    /// Another version of it, or a name that may have been meant.
    fn nearest(&self, known: &BTreeSet<String>) -> Option<String> {
        let versions: Vec<_> = known.iter().filter(|k| k.split_once('@').is_some_and(|(name, _)| folded(name) == self.name)).collect();
        if !versions.is_empty() {
            return Some(versions.iter().map(|k| k.as_str()).collect::<Vec<_>>().join(", or "));
        }
        nearest(&self.name, known.iter().map(String::as_str)).map(str::to_owned)
    }
}

fn folded(name: &str) -> String {
    name.to_ascii_lowercase().replace('_', "-")
}

/// What lies in the folder of packages, and what of it cannot be read. A folder that was never made holds nothing.
fn installed(folder: &Path) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let (mut found, mut unread) = (Vec::new(), Vec::new());
    match std::fs::read_dir(folder) {
        Err(why) if why.kind() == ErrorKind::NotFound => {}
        Err(why) => {
            println!("{}: NOT KNOWN: the folder of packages cannot be read: {why}", folder.display());
            unread.push(folder.to_owned());
        }
        Ok(entries) => {
            for entry in entries {
                match entry {
                    Ok(entry) => found.push(entry.path()),
                    Err(why) => {
                        println!("{}: NOT KNOWN: not all of it can be read: {why}", folder.display());
                        unread.push(folder.to_owned());
                    }
                }
            }
        }
    }
    (found, unread)
}
