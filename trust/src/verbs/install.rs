//! `wardgate plugin install`: only what the fleet's metadata names, byte for byte, while that metadata is fresh; the gateway itself decides the rest.

use std::path::{Path, PathBuf};

use clap::Args;
use jiff::Timestamp;
use tough::schema::Target;

use crate::clock::{Known, judge};
use crate::desk::REPOSITORY;
use crate::fault::Fault;
use crate::package::{ENDING, FILE_BYTES_MAX, Package};
use crate::registry::SCHEME;
use crate::revocations::Withheld;
use crate::source::Source;
use crate::state::Fleet;
use crate::{client, files, gateway, role};

#[derive(Debug, Args)]
#[command(after_help = "\
A package that the fleet's metadata does not name is refused, and so is every package while that metadata is stale. A site without fleet metadata,
which holds its vendors' keys itself, decides by those alone. What was here before, and was lost, comes in again by `wardgate plugin accept`, also when
the metadata or the term of its key has ended.

Examples:
  wardgate plugin install pump-1.0.0.wardgate
  wardgate plugin install acme/pump-1.0.0 --from /media/stick
  wardgate plugin pull oci://registry.example/acme/pump:1.0.0 && wardgate plugin install pump-1.0.0.wardgate")]
pub struct Install {
    /// A file; or, with --from, a package's name: VENDOR/NAME-VERSION
    #[arg(value_name = "PACKAGE")]
    package: String,
    /// A folder or an address that holds the fleet's repository
    #[arg(long, value_name = "FROM")]
    from: Option<String>,
    /// The gateway's trust folder, instead of the one that its configuration names
    #[arg(long, value_name = "DIR")]
    trust: Option<PathBuf>,
    /// The gateway's configuration
    #[arg(long, short, value_name = "FILE", default_value = "/etc/wardgate/gateway.toml")]
    config: PathBuf,
    #[command(flatten)]
    mirror: super::Mirror,
    #[command(flatten)]
    clock: super::Clock,
}

pub fn run(args: &Install) -> Result<(), Fault> {
    if let Some(address) = [Some(&args.package), args.from.as_ref()].into_iter().flatten().find(|text| text.starts_with(SCHEME)) {
        let first = format!("get it first: `wardgate plugin pull {address}`, then install the file that it names");
        return Err(Fault::usage(format!("{address} lies in a registry, and what is installed is a file"), first));
    }
    let trust = match &args.trust {
        Some(folder) => Some(folder.clone()),
        None => gateway::trust_folder(&args.config)?,
    };
    let (path, fetched) = match &args.from {
        None => (PathBuf::from(&args.package), false),
        Some(from) => (fetch(args, trust.as_deref(), from).map_err(written_down(&args.config, Path::new(&args.package)))?, true),
    };
    // what the gateway's own program refuses it writes down itself
    let done = checked(args, trust.as_deref(), &path)
        .map_err(written_down(&args.config, &path))
        .and_then(|()| gateway::run("accept", &[&path, Path::new("--config"), &args.config], false));
    if fetched {
        let _ = path.parent().map(std::fs::remove_dir_all); // ours; the gateway has its own copy, or refused it
    }
    done
}

/// A refusal that is about the package, as it passes by.
fn written_down<'a>(config: &'a Path, package: &'a Path) -> impl FnOnce(Fault) -> Fault + 'a {
    move |fault| {
        if fault.is_of_a_package() {
            gateway::install_refused(config, package, &fault);
        }
        fault
    }
}

/// The metadata that was verified here, verified once more: no network, and nothing is taken on the word of a file.
fn verified(args: &Install, trust: Option<&Path>) -> Result<Option<(client::Loaded, Timestamp)>, Fault> {
    let Some(trust) = trust else { return Ok(None) };
    let Some(fleet) = Fleet::read(trust)? else {
        let begun = trust.join(super::update::ANCHOR);
        let lost = Fault::Stale { why: format!("{} has a root, and no fleet.json", trust.display()) };
        return if begun.exists() { Err(lost) } else { Ok(None) };
    };
    let root = super::update::trusted_root(trust, None)?;
    let source = Source::Folder(trust.join(REPOSITORY));
    let loaded = super::within(args.mirror.patience, &source.name(), client::load(&root, source.clone(), None))?;
    loaded.not_older(&fleet)?;
    let clock = args.clock.moment()?;
    let floor = fleet.floor.as_ref().and_then(|t| t.parse().ok());
    let judged = judge(Known { clock, issued: loaded.issued(), floor, expires: loaded.expires() });
    if judged.stale {
        return Err(Fault::Stale { why: super::update::stale(&fleet, &judged, clock) });
    }
    Ok(Some((loaded, judged.floor.unwrap_or(clock))))
}

fn checked(args: &Install, trust: Option<&Path>, path: &Path) -> Result<(), Fault> {
    let bytes = files::read(path, FILE_BYTES_MAX)?;
    let refused = |why: String| Fault::Package { what: path.display().to_string(), why };
    let claim = Package::read(&bytes).and_then(|package| package.claim()).map_err(refused)?;
    let Some((loaded, now)) = verified(args, trust)? else {
        println!("{} no fleet's metadata: this site's own keys of vendors decide", who_has_none(trust));
        return Ok(());
    };
    let name = claim.target();
    let withheld = |(why, remedy): Withheld| Fault::Withheld { what: path.display().to_string(), why, remedy };
    let trusted = loaded.vendors().into_iter().find(|v| v.vendor == claim.vendor).map(|v| v.keys).unwrap_or_default();
    loaded.revocations.signed(&claim, &trusted, now, "`wardgate trust update` here").map_err(withheld)?;
    let Some((target, expires)) = loaded.target(&claim.vendor, &name) else {
        return Err(unlisted(path.display().to_string(), &name, &loaded));
    };
    if expires < now {
        return Err(Fault::Stale { why: format!("the list of {} ended on {}", claim.vendor, super::short(expires)) });
    }
    let named = is(&name, target, &bytes);
    // one more signature of its vendor's makes another file, and no other package, as long as nothing else is in it
    if named.is_err() && crate::desk::statement(target) == Some(claim.statement.as_str()) {
        return gateway::run("verify", &[path], true);
    }
    named.map_err(withheld)
}

fn unlisted(what: String, name: &str, loaded: &client::Loaded) -> Fault {
    Fault::Withheld { what, why: format!("the fleet's lists name no {name}; they name {}", listed(loaded)), remedy: to_publish() }
}

fn to_publish() -> String {
    "take one that they name; or, at the fleet's desk: `wardgate trust publish FILE`, then `wardgate trust update` here".into()
}

fn who_has_none(trust: Option<&Path>) -> String {
    trust.map_or_else(|| "the gateway's configuration names".to_owned(), |folder| format!("{} holds", folder.display()))
}

fn is(name: &str, target: &Target, bytes: &[u8]) -> Result<(), Withheld> {
    let (held, named) = (role::digest(bytes), &target.hashes.sha256);
    if **named == *held && target.length == bytes.len() as u64 {
        return Ok(());
    }
    let why = format!("the fleet's lists name {name} with the SHA-256 {}, and this file has {}", role::hex(named), role::hex(&held));
    Err((why, to_publish()))
}

fn listed(loaded: &client::Loaded) -> String {
    const SHOWN: usize = 10; // a screen's worth
    let packages = loaded.packages();
    let shown = packages.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    match packages.len() {
        0 => "no package".into(),
        n if n > SHOWN => format!("{shown} and {} more", n - SHOWN),
        _ => shown,
    }
}

/// By its name, into a file beside nobody else's.
fn fetch(args: &Install, trust: Option<&Path>, from: &str) -> Result<PathBuf, Fault> {
    let source = Source::of(from, args.mirror.ca.as_deref())?;
    let name = if args.package.ends_with(ENDING) { args.package.clone() } else { format!("{}{ENDING}", args.package) };
    let Some((vendor, file)) = name.split_once('/').filter(|(_, file)| !file.contains('/')) else {
        return Err(Fault::usage(
            format!("{name:?} is no package's name"),
            "write VENDOR/NAME-VERSION, as `wardgate trust status` lists them",
        ));
    };
    let (loaded, _) = verified(args, trust)?.ok_or_else(|| {
        Fault::usage(
            format!("{} no fleet's metadata", who_has_none(trust)),
            "bring it first: `wardgate trust update`; or name a file, without --from",
        )
    })?;
    let Some((target, _)) = loaded.target(vendor, &name) else {
        return Err(unlisted(name.clone(), &name, &loaded));
    };
    let place = format!("targets/{}", role::place(&name, &target.hashes.sha256));
    let bytes = super::within(args.mirror.patience, &source.name(), source.target(&place))?;
    is(&name, target, &bytes).map_err(|(why, _)| Fault::Package { what: format!("{name} from {from}"), why })?;
    let folder = files::fresh(&std::env::temp_dir(), "wardgate-install")?;
    let path = folder.join(file);
    files::write(&path, &bytes, files::PUBLIC_MODE)?;
    Ok(path)
}
