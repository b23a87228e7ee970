//! `wardgate plugin inspect`: one screen for whoever has to say whether a package may run in the hospital.

use std::fmt;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::cli::site::Site;
use crate::config::{Config, Link, Manifest};
use crate::contract::one_line;
use crate::fault::Fault;
use crate::plugin::{self, Admission, BillSummary, Bound, Flaw, GOLDEN_FOLDER, Package, PluginError, SBOM_FILE, Sealed, Withheld};

const WORDS_BYTES_MAX: usize = 300; // the vendor's own words in one line: the longest grant of ours has 280

#[derive(Debug, Args)]
#[command(after_help = "\
Nothing of the package is run. With --config it is judged as that gateway would at its start: by the fleet's metadata, by what ran there before and by what
was approved there; nothing is written. What it asks for is not what it gets: a site grants, in gateway.toml, and the smaller of both counts.

Examples:
  wardgate plugin inspect pump-1.0.0.wardgate
  wardgate plugin inspect --config /etc/wardgate/gateway.toml pump-1.0.0.wardgate    as this gateway would judge it")]
pub struct Inspect {
    /// Judge by this gateway's configuration
    #[arg(long, short, value_name = "FILE", conflicts_with = "trust")]
    config: Option<PathBuf>,
    /// Judge by this folder of trusted vendors' public keys
    #[arg(long, value_name = "DIR")]
    trust: Option<PathBuf>,
    #[arg(value_name = "FILE")]
    package: PathBuf,
}

pub fn run(args: &Inspect) -> Result<(), Fault> {
    let here = args.config.as_ref().map(|file| Config::load(file).map_err(Fault::from).and_then(Site::as_it_is)).transpose()?;
    let admission = match &here {
        Some((site, _)) => site.judge().admission,
        None => Admission::Site { allow_unsigned: false, vendors: args.trust.clone() },
    };
    let sealed = plugin::sealed(&args.package).map_err(super::refused)?;
    let trusted = admission.signers(&args.package, &sealed);
    let looked_at = Package::unpack(&args.package, &sealed, trusted.as_deref().unwrap_or_default());
    let manifest = plugin::manifest_inside(&args.package, &sealed).map_err(super::refused)?;
    print!("{}", Screen { sealed: &sealed, manifest: &manifest });
    let (withheld, revoked) = match (&here, &looked_at, &trusted) {
        (Some((site, _)), Ok(package), Ok(_)) => (told(package, site.withheld(package)), told(package, site.runs_revoked(package))),
        _ => Default::default(),
    };
    let doubt = here.and_then(|(_, doubt)| doubt);
    print!("{}", Here { trusted, runs: looked_at.map(drop), withheld, revoked, doubt, path: &args.package, plugin: manifest.full_name() });
    Ok(())
}

/// As the gateway itself judges at a start.
fn told(package: &Package, judged: Vec<(String, Withheld)>) -> Vec<(String, PluginError)> {
    let plugin = package.manifest.full_name();
    judged.into_iter().map(|(instance, why)| (instance, PluginError::Withheld { plugin: plugin.clone(), why: Box::new(why) })).collect()
}

/// What the package says.
struct Screen<'a> {
    sealed: &'a Sealed,
    manifest: &'a Manifest,
}

fn row(f: &mut fmt::Formatter<'_>, name: &str, text: impl fmt::Display) -> fmt::Result {
    writeln!(f, "{name:<10} {text}")
}

/// The vendor's words, which nobody but the vendor answers for: marked as such, on one line, and what could end the mark is no part of them.
pub fn vendor_says(text: &str) -> String {
    match one_line(text, WORDS_BYTES_MAX).replace('"', "'") {
        words if words.is_empty() => "the vendor says nothing".into(),
        words => format!("the vendor says \"{words}\""),
    }
}

/// Of what a site grants, as it was read and not as it was written.
fn at_most(link: Link, manifest: &Manifest) -> String {
    match manifest.bound(link).map(|text| Bound::read(link, text)) {
        None => "it says no bound: all that the site grants of that it may do".into(),
        Some(Ok(most)) => format!("whatever the site grants, never more than: {}", most.in_words()),
        Some(Err(why)) => format!("its bound cannot be read: {}", one_line(&why, WORDS_BYTES_MAX)),
    }
}

impl fmt::Display for Screen<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sealed, manifest } = self;
        let claim = &sealed.claim;
        writeln!(f, "{} {}, release {}, of {}", claim.name, claim.version, claim.release, claim.vendor)?;
        row(f, "", vendor_says(&manifest.summary))?;
        let mut name = "signed by";
        for key in sealed.signers() {
            row(f, name, key.id())?;
            name = "";
        }
        if sealed.signers().next().is_none() {
            row(f, name, "NOBODY")?;
        }
        row(f, "digest", sealed.digest())?;
        self.reach(f)?;
        row(f, "imports", claim.imports.join(" "))?;
        row(f, "hears", claim.exports.join(" "))?;
        let limits = &manifest.limits;
        row(
            f,
            "limits",
            format_args!(
                "{} MiB of memory, {} ms a call, {} bytes kept, {} KiB/s said",
                limits.memory_mib, limits.call_ms, limits.state_bytes, limits.said_kib_s
            ),
        )?;
        self.contents(f)
    }
}

impl Screen<'_> {
    /// In plain words. What it may do is what a site grants of it.
    fn reach(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let manifest = self.manifest;
        let mut name = "asks for";
        for link in &manifest.links {
            let needs = manifest.asks.get(link).map_or("", |ask| ask.needs.as_str());
            row(f, name, format_args!("{link}: {}", vendor_says(needs)))?;
            if let Some(ask) = manifest.asks.get(link) {
                row(f, "", format_args!("  the vendor proposes: {}", one_line(&ask.grant, WORDS_BYTES_MAX)))?;
            }
            row(f, "", format_args!("  {}", at_most(*link, manifest)))?;
            name = "";
        }
        if manifest.links.is_empty() {
            row(f, name, "no device")?;
        }
        for input in &manifest.inputs {
            let (kind, what) = (format!("{:?}", input.kind).to_lowercase(), vendor_says(&input.description));
            row(f, "taps", format_args!("{} ({kind}): {what}", one_line(&input.name, WORDS_BYTES_MAX)))?;
        }
        if !manifest.inputs.is_empty() {
            row(f, "", "  channels of other instances, each as the site names it, and no other")?;
        }
        let c = manifest.channels;
        let kinds = [
            ("numeric", c.numeric),
            ("enumeration", c.enumeration),
            ("bits", c.bits),
            ("text", c.text),
            ("octets", c.octets),
            ("waveform", c.waveform),
        ];
        let channels: Vec<_> = kinds.iter().filter(|(_, n)| *n > 0).map(|(kind, n)| format!("{n} {kind}")).collect();
        row(f, "says", format_args!("at most {} channels", if channels.is_empty() { "no".into() } else { channels.join(", ") }))?;
        for (command, takes) in &manifest.commands {
            row(f, "obeys", format_args!("{}: {}", one_line(command, WORDS_BYTES_MAX), vendor_says(&takes.description)))?;
        }
        row(f, "cannot", "reach a network, a file, a clock, another plugin, or a device that the site does not grant")
    }

    fn contents(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files = self.sealed.files();
        let golden = files.iter().filter(|file| file.path.starts_with(GOLDEN_FOLDER)).count();
        row(f, "holds", format_args!("{} files, {golden} of them golden cases (`wardgate plugin test FILE` plays them)", files.len()))?;
        let Some(bill) = self.sealed.file(SBOM_FILE).and_then(|file| BillSummary::of(&file.bytes)) else {
            return row(f, "made of", "a bill of materials that cannot be read");
        };
        let mut licences: Vec<_> = bill.licences.iter().collect();
        licences.sort_by(|a, b| b.1.cmp(a.1));
        let licences: Vec<_> = licences.iter().take(4).map(|(licence, n)| format!("{n} {}", one_line(licence, WORDS_BYTES_MAX))).collect();
        row(f, "made of", format_args!("{} crates, {} of them named by digest; {}", bill.crates, bill.with_digest, licences.join(", ")))
    }
}

/// Whether it would run on this gateway, and why not.
struct Here<'a> {
    trusted: Result<Vec<plugin::PublicKey>, PluginError>,
    runs: Result<(), PluginError>,
    /// By instance; an empty name: as a new one.
    withheld: Vec<(String, PluginError)>,
    /// Where it runs on all the same.
    revoked: Vec<(String, PluginError)>,
    /// Why what ran here is not known.
    doubt: Option<String>,
    path: &'a Path,
    /// NAME-VERSION
    plugin: String,
}

impl Here<'_> {
    /// Of what this screen is about already.
    fn words(&self, why: &PluginError) -> String {
        if let PluginError::Withheld { why, .. } = why {
            return why.to_string();
        }
        let words = why.to_string();
        let named = [format!("package {} ", self.path.display()), format!("plugin {} ", self.plugin)];
        named.iter().find_map(|named| words.strip_prefix(named)).map_or_else(|| words.clone(), |about| format!("it {about}"))
    }
}

impl fmt::Display for Here<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (instance, why) in &self.revoked {
            row(
                f,
                "here",
                format_args!("REVOKED, and runs on as {instance} only because [trust] on_revoked says so: {}", self.words(why)),
            )?;
            row(f, "", format_args!("what to do: {}", why.remedy(instance)))?;
        }
        let mut refused = |instance: &str, why: &PluginError| {
            let itself = if instance.is_empty() { String::new() } else { format!(" as {instance}") };
            row(f, "here", format_args!("would NOT run{itself}: {}", self.words(why)))?;
            row(f, "", format_args!("what to do: {}", why.remedy(if instance.is_empty() { "NAME" } else { instance })))
        };
        match (&self.runs, &self.trusted) {
            (Err(why), _) => refused("", why),
            (Ok(()), Err(PluginError::Flawed { why: Flaw::Unsigned, .. })) => {
                row(f, "here", "would NOT run: it is not signed")?;
                row(f, "", format_args!("what to do: {}", Flaw::Unsigned.remedy()))
            }
            (Ok(()), Err(why)) => refused("", why),
            (Ok(()), Ok(_)) if !self.withheld.is_empty() => self.withheld.iter().try_for_each(|(instance, why)| refused(instance, why)),
            (Ok(()), Ok(_)) => {
                if let Some(doubt) = &self.doubt {
                    row(f, "here", format_args!("NOT KNOWN FOR SURE: {doubt}"))?;
                }
                row(f, "here", format_args!("would run on this gateway ({}), as far as the site grants", env!("CARGO_PKG_VERSION")))
            }
        }
    }
}
