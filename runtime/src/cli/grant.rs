//! `wardgate grant`: what a site allows its plugins, signed, compared and approved.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::site::{Site, who, wrong_key};
use crate::audit::{Entry, What};
use crate::fault::{Fault, Guilty};
use crate::plugin::{
    self, AHEAD_MAX, Ahead, Approval, Package, PluginError, PublicKey, Ran, Reach, SecretKey, Withheld, grants_hash, grants_lines, held,
    named_from,
};

#[derive(Args)]
#[command(after_help = "\
What runs is what its package asks for and gateway.toml grants, the smaller of both. A package that asks for more than the one before it does not
start before somebody who may has looked at `diff` and said `approve`. Both judge it first as the gateway would at its start: what is revoked, older,
another of its release or new while nothing new may come in is told by `diff`, and is not approved.

Examples:
  wardgate grant diff pump-1.5.0.wardgate             what it would newly reach on this gateway
  wardgate grant approve pump-1.5.0.wardgate          it may
  wardgate grant list                                 each instance, what it is granted, and the hash of that
  wardgate grant sign --key site.key gateway.toml     on the desk where the site's key is; gateway.toml names [trust] site_key")]
pub struct Grant {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Say what a package would newly reach, against what each instance runs or was approved for since
    Diff {
        #[command(flatten)]
        of: Of,
    },
    /// Approve what a package asks for
    Approve {
        #[command(flatten)]
        of: Of,
        /// For this instance only; else for all that run it
        #[arg(long)]
        instance: Option<String>,
    },
    /// Show what each instance is granted in effect, as it ran last
    List {
        /// The gateway's configuration
        #[arg(long, short, default_value = "/etc/wardgate/gateway.toml")]
        config: PathBuf,
    },
    /// Make the memory of what was trusted anew, of what the audit log proves: where it is damaged
    #[command(after_help = "\
Where trust.memory in the state folder is damaged or gone, nothing new is taken and nothing starts but what the audit log proves to have run here
last. This writes it anew of just that, after you have found out what happened; a damaged file stays beside it as trust.damaged. What was approved
for a package's reach is read from the packages that ran last, so they must lie where gateway.toml names them: where another one lies, or none, that
is told here, and what it asks for is to be approved again.")]
    Recall {
        /// The gateway's configuration
        #[arg(long, short, default_value = "/etc/wardgate/gateway.toml")]
        config: PathBuf,
    },
    /// Sign gateway.toml with the site's key
    Sign {
        /// The site's secret key, from `wardgate plugin keygen site`
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// The configuration
        #[arg(value_name = "FILE", default_value = "/etc/wardgate/gateway.toml")]
        config: PathBuf,
    },
}

/// Which package, on which gateway.
#[derive(Args)]
struct Of {
    /// The gateway's configuration
    #[arg(long, short, default_value = "/etc/wardgate/gateway.toml")]
    config: PathBuf,
    /// The package, as its vendor gave it
    #[arg(value_name = "PACKAGE")]
    package: PathBuf,
}

pub fn run(args: &Grant) -> Result<(), Fault> {
    match &args.verb {
        Verb::Diff { of } => diff(of),
        Verb::Approve { of, instance } => approve(of, instance.as_deref()),
        Verb::List { config } => list(config),
        Verb::Recall { config } => recall(config),
        Verb::Sign { key, config } => {
            let key = SecretKey::read(key).map_err(|e| wrong_key(&e))?;
            let read = crate::config::Config::load(config)?; // nobody signs what no gateway reads
            let signature = plugin::sign_config(config, &key).map_err(|e| Fault::new(Guilty::Configuration, &e, e.remedy()))?;
            println!("{} is signed by {}: {}", config.display(), key.public().id(), signature.display());
            let named = read.trust.site_key.as_deref().and_then(|file| PublicKey::read(file).ok());
            if named.is_some_and(|named| named != key.public()) {
                println!(
                    "it names another key as [trust] site_key: a gateway takes it only where {} is its site's key until now",
                    key.public().id()
                );
            }
            println!("next: put both files on the gateway, with the public key as [trust] site_key; then `wardgate reload`");
            Ok(())
        }
    }
}

fn refused(why: PluginError) -> Fault {
    Fault::new(Guilty::Plugin, &why, why.remedy("NAME"))
}

/// A package that this site trusts.
struct Asked {
    site: Site,
    package: Package,
    vendor: String,
    release: u64,
    digest: String,
    reach: Reach,
}

impl Asked {
    fn read(of: &Of) -> Result<Self, Fault> {
        let site = Site::open(&of.config)?;
        let package = Package::admit(&of.package, &site.admission).map_err(refused)?;
        let Some(by) = package.signed.clone() else {
            return Err(refused(PluginError::Unsigned { folder: of.package.clone() }));
        };
        let reach = Reach::of(&package.manifest, &package.surface);
        Ok(Self { site, package, vendor: by.vendor, release: by.release, digest: by.digest, reach })
    }

    fn name(&self) -> String {
        format!("{}/{}", self.vendor, self.package.manifest.name)
    }

    fn why(&self, why: Withheld) -> PluginError {
        PluginError::Withheld { plugin: self.package.manifest.full_name(), why: Box::new(why) }
    }

    /// Instances for which a package of this vendor and name was approved.
    fn instances(&self) -> Vec<(&String, &Approval)> {
        let there = |instance: &String| self.site.config.instances.contains_key(instance);
        self.site.remembered().approved_for(self.name()).filter(|(instance, _)| there(instance)).collect()
    }
}

fn diff(of: &Of) -> Result<(), Fault> {
    let asked = Asked::read(of)?;
    println!("{} {}, release {}", asked.name(), asked.package.manifest.version, asked.release);
    let mut withheld = BTreeSet::new();
    for (instance, why) in asked.site.withheld(&asked.package) {
        if matches!(why, Withheld::Beyond { .. }) {
            continue; // that is what is told below
        }
        let (itself, name) = if instance.is_empty() { (String::new(), "NAME") } else { (format!(" as {instance}"), instance.as_str()) };
        let why = asked.why(why);
        withheld.insert(instance.clone());
        println!("would NOT run{itself}, whatever is approved: {why}");
        println!("    what to do: {}", why.remedy(name));
    }
    for (instance, why) in asked.site.runs_revoked(&asked.package) {
        let why = asked.why(why);
        println!("REVOKED, and runs on as {instance} only because [trust] on_revoked says so: {why}");
        println!("    what to do: {}", why.remedy(&instance));
    }
    let mut known = false;
    for (instance, approved) in asked.instances() {
        known = true;
        let (release, reach) = approved.held_against();
        let (more, less) = (asked.reach.beyond(reach), reach.beyond(&asked.reach));
        println!("{instance}: against release {release}");
        more.iter().for_each(|line| println!("    + {line}"));
        less.iter().for_each(|line| println!("    - {line}"));
        match more.is_empty() {
            true if withheld.contains(instance) => println!("    reaches nothing new"),
            true => println!("    reaches nothing new: it may take the place of the one before it"),
            false if approved.is_ahead(asked.release, Some(&asked.digest), &asked.reach) => {
                println!("    reaches more, and a person approved that: it may take the place of the one before it");
            }
            false => println!("    reaches more: it starts after `wardgate grant approve {}`", of.package.display()),
        }
    }
    if !known {
        println!("no instance ran it yet; it asks for:");
        asked.reach.of.iter().cloned().chain(asked.reach.bounds_in_words()).for_each(|line| println!("    + {line}"));
        asked.reach.at_most.iter().filter(|(_, most)| **most > 0).for_each(|(name, most)| println!("    + {name} {most}"));
    }
    Ok(())
}

fn approve(of: &Of, only: Option<&str>) -> Result<(), Fault> {
    let mut asked = Asked::read(of)?;
    asked.site = asked.site.vouched("approve")?;
    let config = &asked.site.config;
    let named: Vec<String> = match only {
        Some(instance) if config.instances.contains_key(instance) => vec![instance.to_owned()],
        Some(instance) => {
            let names: Vec<_> = config.instances.keys().map(String::as_str).collect();
            let what = format!("there is no instance \"{instance}\" in gateway.toml; there are {}", names.join(", "));
            return Err(Fault::new(Guilty::Configuration, what, "name one of them, or add it"));
        }
        None => {
            let known: Vec<_> = asked.instances().into_iter().map(|(name, _)| name).collect(); // those that `diff` tells of
            let runs = |name: &&String| asked.site.remembered().ran.get(*name).is_some_and(|ran| ran.package == asked.name());
            config.instances.keys().filter(|name| runs(name) || known.contains(name)).cloned().collect()
        }
    };
    unless_withheld(&asked, &named)?;
    if named.is_empty() {
        println!("no instance ran {}: gateway.toml itself approves what is new; nothing was changed", asked.name());
        return Ok(());
    }
    let full = |instance: &&String| {
        let known = asked.site.remembered().approved(instance, &asked.name());
        let newest = asked.site.remembered().newest_release(&asked.vendor, &asked.package.manifest.name).unwrap_or_default();
        known.is_some_and(|known| !known.has_room(asked.release, Some(&asked.digest), newest))
    };
    if let Some(instance) = named.iter().find(full) {
        let what = format!("{AHEAD_MAX} releases of {} are approved for {instance} already, and none of them ran since", asked.name());
        return Err(Fault::new(Guilty::Usage, what, "let one of them run first; `wardgate audit show` lists them"));
    }
    for instance in &named {
        let grants = grants_lines(&config.instances[instance], &asked.package.manifest, &config.buses);
        let before = asked.site.remembered().approved(instance, &asked.name());
        let more = asked.reach.beyond(&before.map(|before| before.held_against().1.clone()).unwrap_or_default()).join(", ");
        let about: [(&str, &dyn std::fmt::Display); 5] = [
            ("instance", instance),
            ("package", &asked.name()),
            ("release", &asked.release),
            ("more", &more),
            ("grants_hash", &grants_hash(&grants)),
        ];
        // written down first: what is not written down is not done
        asked.site.record(Entry::new(What::GrantApprove, who(), about))?;
    }
    let kept = asked.site.memory.change(|m| {
        for instance in &named {
            let (digest, reach) = (Some(asked.digest.clone()), asked.reach.clone());
            m.approve(instance, &asked.name(), Ahead { release: asked.release, digest, reach });
        }
    });
    kept.map_err(|e| Fault::new(Guilty::Store, &e, "the state folder must be writable"))?;
    println!("approved for {}: what {} release {} asks for", named.join(", "), asked.name(), asked.release);
    for instance in &named {
        let ran = asked.site.remembered().ran.get(instance).filter(|ran| ran.package != asked.name());
        ran.iter()
            .for_each(|ran| println!("{instance} runs {} until gateway.toml names this one; what was approved of that stays", ran.package));
    }
    println!("next: name it in gateway.toml and `wardgate reload`");
    Ok(())
}

/// What does not run here whatever is approved is not approved: nobody is to believe that it may, and it does not come in by that on another day.
fn unless_withheld(asked: &Asked, named: &[String]) -> Result<(), Fault> {
    let judge = asked.site.judge();
    let nobody = [String::new()];
    for instance in if named.is_empty() { &nobody } else { named } {
        let why = asked.site.withheld_as(&judge, instance, &asked.package).filter(|why| !matches!(why, Withheld::Beyond { .. }));
        // that a site lets it run on is no reason to allow it more
        let Some(why) = why.or_else(|| asked.site.revoked(&asked.package)).map(|why| asked.why(why)) else { continue };
        let about: [(&str, &dyn std::fmt::Display); 3] = [("what", &"approve"), ("package", &asked.name()), ("why", &why)];
        let entry = Entry::new(What::Refuse, who(), about);
        asked.site.record(if instance.is_empty() { entry } else { entry.and("instance", instance) })?;
        let remedy = why.remedy(if instance.is_empty() { "NAME" } else { instance });
        return Err(Fault::new(Guilty::Plugin, &why, remedy));
    }
    Ok(())
}

fn recall(config: &Path) -> Result<(), Fault> {
    let site = Site::look(config)?.vouched("recall")?;
    let Some(why) = &site.blind else {
        println!("what was seen here is known: nothing was changed");
        return Ok(());
    };
    let mut remembered = site.remembered().clone();
    remembered.fleet = site.known.fleet.fleet.as_ref().map(plugin::Fleet::without_lists);
    let mut unread = Vec::new();
    for (name, instance) in &site.config.instances {
        let Some(ran) = remembered.ran.get(name).cloned() else { continue };
        let there = match Package::admit(&instance.package, &site.admission) {
            Ok(package) => package,
            Err(why) => {
                let remedy = format!(
                    "put {} there, as it ran last, then `wardgate grant approve {0} --instance {name}`",
                    instance.package.display()
                );
                unread.push((name, format!("its package does not open: {why}"), remedy));
                continue;
            }
        };
        let Some(by) = there.signed.as_ref() else { continue };
        let it = Ran {
            package: format!("{}/{}", by.vendor, there.manifest.name),
            release: by.release,
            digest: Some(by.digest.clone()),
            file: None,
        };
        match remembered.of_what_ran(name) {
            Some(approval) if ran.digest.is_some() && ran == it => {
                approval.reach = Reach::of(&there.manifest, &there.surface);
                let file = Some(named_from(site.config.file(), &instance.package));
                remembered.ran.insert(name.clone(), Ran { file, ..ran });
            }
            _ => {
                let (package, release) = (&ran.package, ran.release);
                let known = ran
                    .digest
                    .as_ref()
                    .map_or_else(|| "a digest that the log does not tell".to_owned(), |digest| format!("the digest {digest}"));
                let why = format!(
                    "what ran last is {package} release {release} with {known}, and that is not known to lie at {}",
                    instance.package.display()
                );
                let remedy = format!("bring that package, then `wardgate grant approve FILE --instance {name}` with it");
                unread.push((name, why, remedy));
            }
        }
    }
    let ran: Vec<_> = remembered.ran.iter().map(|(instance, ran)| format!("{instance}: {} release {}", ran.package, ran.release)).collect();
    let about: [(&str, &dyn std::fmt::Display); 3] = [("what", &"trust.memory"), ("found", why), ("ran", &ran.join(", "))];
    site.record(Entry::new(What::BreakGlass, who(), about).and("how", "made anew of what the audit log proves"))?;
    site.memory.replace(&remembered).map_err(|e| Fault::new(Guilty::Store, &e, "the state folder must be writable"))?;
    println!("made anew of what the audit log proves; what ran here last:");
    ran.iter().for_each(|line| println!("    {line}"));
    if let Some(key) = &remembered.site_key {
        println!("    the site's key: {key}");
    }
    for (name, why, remedy) in unread {
        println!("what was approved for {name} is not known, because {why}");
        println!("    what to do: {remedy}");
    }
    println!(
        "next: `wardgate audit show`, whether that is all; what is not in this list is new here: `wardgate check`, then `wardgate reload`"
    );
    Ok(())
}

fn list(config: &Path) -> Result<(), Fault> {
    let site = Site::open(config)?;
    for (name, instance) in &site.config.instances {
        let Ok(package) = Package::admit(&instance.package, &site.admission) else {
            println!("{name}: its package does not open here; `wardgate check` says why");
            continue;
        };
        let lines = grants_lines(instance, &package.manifest, &site.config.buses);
        let hash = grants_hash(&lines);
        println!("{name}: {hash}");
        lines.iter().for_each(|line| println!("    {line}"));
        let more = held(&instance.grants, &package.manifest).more;
        more.iter().for_each(|part| println!("    granted beyond what its package asks for, where the smaller counts: {part}"));
        if !more.is_empty() {
            let crate::gateway::Allowed { modbus, serial, ble } = crate::gateway::allowed(&site.config, name, instance, &package.manifest)?;
            let words = [modbus.map(|g| g.explain()), serial.map(|g| g.explain()), ble.map(|g| g.explain())];
            words.into_iter().flatten().for_each(|words| println!("    in effect {words}"));
        }
        let vendor = package.signed.as_ref().map_or("nobody", |by| by.vendor.as_str());
        match site.remembered().approved(name, &format!("{vendor}/{}", package.manifest.name)) {
            Some(ran) if ran.grants_hash == hash => {}
            Some(ran) if ran.has_run() => println!("    DIFFERS from what it ran with last ({})", ran.grants_hash),
            _ => println!("    has not run yet"),
        }
    }
    Ok(())
}
