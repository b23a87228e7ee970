//! `wardgate plugin accept` and `allow-older`: a package on its way into a gateway, and the way back that only the site's key opens.

use std::path::PathBuf;

use clap::Args;

use crate::audit::{Entry, What};
use crate::cli::site::{Site, who, wrong_key};
use crate::fault::{Fault, Guilty};
use crate::plugin::{self, PluginError, SecretKey, examine, write_override};

#[derive(Debug, Args)]
#[command(after_help = "\
It must be whole, signed by a key that the site trusts for its vendor, not revoked, no older than what ran here, and the fleet's metadata (where
the site has one) must be fresh. Then it lies in `[plugins] folder`, and a record of that in the audit log. It runs when gateway.toml names it.

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
    let (claim, path) = (&taken.claim, taken.path.display());
    let about: [(&str, &dyn std::fmt::Display); 6] = [
        ("vendor", &claim.vendor),
        ("name", &claim.name),
        ("version", &claim.version),
        ("release", &claim.release),
        ("key", &taken.signed.key.id()),
        ("path", &path),
    ];
    if taken.by_override {
        site.record(Entry::new(What::BreakGlass, who(), about).and("how", "an older release, by the site's override"))?;
    }
    let component: String = taken.package.hash.iter().map(|b| format!("{b:02x}")).collect();
    // written down, put there, remembered: whenever the power goes in between, the same verb again does the rest
    site.record(Entry::new(What::Install, who(), about).and("component", component))?;
    if let Err(why) = taken.put(&site.memory) {
        return refused(why);
    }
    println!("{path}: {}, release {}, of {}", claim.full_name(), claim.release, claim.vendor);
    println!("    signed by {}, which this site trusts", taken.signed.key.id());
    println!("next: what it would newly reach:  wardgate grant diff {path}");
    println!("      to run it, in gateway.toml: package = \"{path}\", then `wardgate check` and `wardgate reload`");
    Ok(())
}

#[derive(Debug, Args)]
#[command(after_help = "\
A release below the highest that ran here is refused: whoever brings it back brings back what was mended since. This says, by the site's key, that
exactly this one may. gateway.toml must name the public half as [trust] site_key.

Example:
  wardgate plugin allow-older --key site.key acme pump 6")]
pub struct AllowOlder {
    /// The gateway's configuration
    #[arg(long, short, value_name = "FILE", default_value = "/etc/wardgate/gateway.toml")]
    config: PathBuf,
    /// The site's secret key
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    vendor: String,
    name: String,
    release: u64,
}

pub fn allow_older(args: &AllowOlder) -> Result<(), Fault> {
    let site = Site::open(&args.config)?.vouched("allow-older")?;
    let key = SecretKey::read(&args.key).map_err(|e| wrong_key(&e))?;
    if site.known.site_key != Some(key.public()) {
        let what = format!("{} is not the key that this gateway knows as its site's", args.key.display());
        return Err(Fault::new(Guilty::Plugin, what, "name the site's key; its public half is [trust] site_key in gateway.toml"));
    }
    let AllowOlder { vendor, name, release, .. } = args;
    site.record(Entry::new(What::BreakGlass, who(), [("what", &"allow-older"), ("vendor", vendor), ("name", name), ("release", release)]))?;
    let path = write_override(&site.config.gateway.state, &key, vendor, name, *release)
        .map_err(|e: plugin::SiteError| Fault::new(Guilty::Plugin, &e, e.remedy()))?;
    println!("{vendor}'s {name} release {release} may run here, although a newer one may have: {}", path.display());
    println!("next: remove that file when it is no longer needed");
    Ok(())
}
