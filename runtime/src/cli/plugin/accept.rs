//! `wardgate plugin accept` and `allow-older`: a package on its way into a gateway, and the way back that only the site's key opens.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::audit::{Entry, What};
use crate::cli::site::{Site, who, wrong_key};
use crate::config::Instance;
use crate::contract::one_line;
use crate::fault::{Fault, Guilty};
use crate::plugin::{self, EVERYWHERE, Exception, PluginError, SecretKey, examine, is_one_file, sign_override};

#[derive(Debug, Args)]
#[command(after_help = "\
It must be whole, signed by a key that the site trusts for its vendor, not revoked, no older than what was seen here (but what ran last may come
back), no other package of a release that was seen here, nothing else than that in the file from which an instance ran; and where it is new here and the site has a fleet, named by its lists while its metadata is fresh. Then it lies in `[plugins] folder`, and
a record of that in the audit log. It runs when gateway.toml names it. A site with a fleet says `wardgate plugin install`, which looks at the fleet's own
signatures first and ends here.

Example:
  wardgate plugin accept --config /etc/wardgate/gateway.toml /media/usb/pump-1.5.0.wardgate")]
pub struct Accept {
    /// The gateway's configuration
    #[arg(long, short, value_name = "FILE", default_value = "/etc/wardgate/gateway.toml")]
    config: PathBuf,
    #[arg(value_name = "FILE")]
    package: PathBuf,
}

pub fn run(args: &Accept) -> Result<(), Fault> {
    let site = Site::open(&args.config)?.vouched("install")?;
    let folder = site.config.plugins.folder.clone();
    let file = args.package.display();
    let refused = |why: PluginError| {
        site.record(Entry::new(What::Refuse, who(), [("what", &"install"), ("file", &file), ("why", &why)]))?;
        Err(super::refused(why))
    };
    let taken = match examine(&args.package, &folder, &site.admission, &site.known) {
        Ok(taken) => taken,
        Err(why) => return refused(why),
    };
    // what an instance runs is something else from its next start on only where somebody said so in gateway.toml
    let naming = site.config.instances.iter().filter(|(_, instance)| is_one_file(&instance.package, &taken.path));
    let instead_of = |name: &String, of: &Instance| taken.instead_of(name, site.config.file(), &of.package, site.remembered());
    let mut instead = naming.filter_map(|(name, of)| Some((name.clone(), instead_of(name, of)?)));
    let instead = instead.next();
    if let (Some((instance, there)), None) = (&instead, taken.by_override) {
        let (path, instance, there) = (taken.path.clone(), instance.clone(), there.clone());
        return refused(PluginError::InPlace { path, instance, there, release: taken.claim.release });
    }
    let (claim, path) = (&taken.claim, taken.path.display());
    let about: [(&str, &dyn std::fmt::Display); 6] = [
        ("vendor", &claim.vendor),
        ("name", &claim.name),
        ("version", &claim.version),
        ("release", &claim.release),
        ("key", &taken.key.id()),
        ("path", &path),
    ];
    let entry = |what| Entry::new(what, who(), about).and("digest", &taken.signed.digest);
    if let Some(how) = taken.by_override {
        site.record(entry(What::BreakGlass).and("how", how))?;
    }
    let component: String = taken.package.hash.iter().map(|b| format!("{b:02x}")).collect();
    // written down, put there, remembered: whenever the power goes in between, the same verb again does the rest
    site.record(entry(What::Install).and("component", component))?;
    if let Err(why) = taken.put(&site.memory) {
        return refused(why);
    }
    println!("{path}: {}, release {}, of {}", claim.full_name(), claim.release, claim.vendor);
    println!("    signed by {}, which this site trusts", taken.key.id());
    if taken.key != taken.signed.key {
        let key = taken.signed.key.id();
        println!(
            "    it stays as it was: there is no room for the signature by {key} beside the good ones that are on it, and it is the same package"
        );
    }
    if let Some((instance, there)) = instead {
        println!(
            "    it lies where {instance} finds its package, in the place of {there}: {instance} runs it from its next start on, where it may"
        );
    }
    let path = std::path::absolute(&taken.path).unwrap_or(taken.path); // in gateway.toml a path begins at the folder of that file
    let (path, config) = (path.display(), args.config.display());
    println!("next: what it would newly reach:  wardgate grant diff --config {config} {path}");
    println!("      to run it, in gateway.toml: package = \"{path}\"");
    println!("      then: wardgate check --config {config} && wardgate reload --config {config}");
    Ok(())
}

const WHY_BYTES_MAX: usize = 400; // a sentence that names two digests

/// What `wardgate-trust` refused before this program was asked: nothing but that can be written by it.
#[derive(Debug, Args)]
pub struct InstallRefused {
    /// The gateway's configuration
    #[arg(long, short, value_name = "FILE")]
    config: PathBuf,
    #[arg(long, value_name = "WORDS")]
    why: String,
    #[arg(value_name = "FILE")]
    package: PathBuf,
}

pub fn install_refused(args: &InstallRefused) -> Result<(), Fault> {
    let site = Site::look(&args.config)?;
    let (file, why) = (args.package.display(), one_line(&args.why, WHY_BYTES_MAX));
    let entry = Entry::new(What::Refuse, who(), [("what", &"install"), ("file", &file), ("why", &why)]);
    // what can be read of it, which its maker wrote and nobody vouches for
    let entry = match plugin::sealed(&args.package) {
        Ok(sealed) => {
            let named = format!("{}/{}", sealed.claim.vendor, sealed.claim.full_name());
            entry.and("package", one_line(&named, WHY_BYTES_MAX)).and("digest", sealed.digest())
        }
        Err(_) => entry,
    };
    site.record(entry).map(drop)
}

#[derive(Debug, Args)]
#[command(after_help = "\
A release below the highest that was seen here is refused: whoever brings it back brings back what was mended since. This says, by the site's key, that
exactly this one may, on this gateway and no other unless --everywhere says so. gateway.toml must name the public half as [trust] site_key.

Example:
  wardgate plugin allow-older --key site.key acme pump 6")]
pub struct AllowOlder {
    /// The gateway's configuration
    #[arg(long, short, value_name = "FILE", default_value = "/etc/wardgate/gateway.toml")]
    config: PathBuf,
    /// The site's secret key
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// On every gateway of the site: the file that is written may be copied to them
    #[arg(long)]
    everywhere: bool,
    vendor: String,
    name: String,
    release: u64,
}

#[derive(Debug, Args)]
#[command(after_help = "\
One release is one package: another one of a release that was seen here is refused, whatever it holds. This says, by the site's key, that exactly the
package of this digest may take the other's place, on this gateway and no other unless --everywhere says so. gateway.toml must name the public half as
[trust] site_key.

Example:
  wardgate plugin allow-other --key site.key acme pump 6 5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef")]
pub struct AllowOther {
    /// The gateway's configuration
    #[arg(long, short, value_name = "FILE", default_value = "/etc/wardgate/gateway.toml")]
    config: PathBuf,
    /// The site's secret key
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// On every gateway of the site: the file that is written may be copied to them
    #[arg(long)]
    everywhere: bool,
    vendor: String,
    name: String,
    release: u64,
    /// As `wardgate plugin verify` prints it
    digest: String,
}

pub fn allow_older(args: &AllowOlder) -> Result<(), Fault> {
    let AllowOlder { config, key, everywhere, vendor, name, release } = args;
    let path = allow(config, key, "allow-older", &Exception::older(vendor, name, *release), *everywhere)?;
    println!("{vendor}'s {name} release {release} may run here, although a newer one may have: {}", path.display());
    println!("next: remove that file when it is no longer needed");
    Ok(())
}

pub fn allow_other(args: &AllowOther) -> Result<(), Fault> {
    let AllowOther { config, key, everywhere, vendor, name, release, digest } = args;
    let path = allow(config, key, "allow-other", &Exception::other(vendor, name, *release, digest), *everywhere)?;
    println!("{vendor}'s {name} release {release} may be the package {digest} here: {}", path.display());
    println!("next: take it with `wardgate plugin accept`; remove that file when it is no longer needed");
    Ok(())
}

fn allow(config: &Path, key: &Path, verb: &str, what: &Exception, everywhere: bool) -> Result<PathBuf, Fault> {
    let site = Site::open(config)?.vouched(verb)?;
    let gateway = if everywhere { EVERYWHERE } else { &site.config.gateway.id };
    let about: [(&str, &dyn std::fmt::Display); 5] =
        [("what", &verb), ("vendor", &what.vendor), ("name", &what.name), ("release", &what.release), ("gateway", &gateway)];
    let entry = |kind| {
        let entry = Entry::new(kind, who(), about);
        what.digest.iter().fold(entry, |entry, digest| entry.and("digest", digest))
    };
    let wrong = |e: plugin::SiteError| Fault::new(Guilty::Plugin, &e, e.remedy());
    // who tried it and was not let is told too: that may be the first sign of somebody with a key that is not the site's
    let refused = |fault: Fault, by: Option<String>| {
        let entry = entry(What::Refuse).and("why", &fault.what);
        site.record(by.into_iter().fold(entry, |entry, by| entry.and("key", by)))?;
        Err(fault)
    };
    let secret = match SecretKey::read(key) {
        Ok(secret) => secret,
        Err(e) => return refused(wrong_key(&e), None),
    };
    let public = secret.public();
    if site.known.site_key != Some(public) {
        let what = format!("{} is not the key that this gateway knows as its site's", key.display());
        let remedy = match site.known.site_key {
            Some(_) => "name the site's key; its public half is [trust] site_key in gateway.toml",
            None => {
                "it knows none: make one with `wardgate plugin keygen site`, name site.pub as site_key below [trust] in gateway.toml, and sign that \
                 file with `wardgate grant sign`"
            }
        };
        return refused(Fault::new(Guilty::Plugin, what, remedy), Some(public.id()));
    }
    // it lies on flash before the record says that it was given, and counts behind that
    let laid = match sign_override(&site.config.gateway.state, &secret, what, gateway) {
        Ok(signed) => signed,
        Err(e) => return refused(wrong(e), Some(public.id())),
    };
    site.record(entry(What::BreakGlass))?;
    laid.put().or_else(|e| refused(wrong(e), Some(public.id())))
}
