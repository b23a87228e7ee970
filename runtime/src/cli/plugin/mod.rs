//! `wardgate plugin`: what the writer of a plugin needs, and whoever is to run it.

mod accept;
mod decode;
mod inspect;
mod keygen;
mod new;
mod pack;
mod sign;
mod test;
mod verify;

use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Subcommand};

use super::elsewhere;
use crate::fault::{Fault, Guilty};
use crate::plugin::{self, Admission, Built, KeyError, MANIFEST_FILE, Package, PluginError, Prepared, trial};
pub use inspect::vendor_says;

#[derive(Debug, Args)]
pub struct Plugin {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make a new plugin, which builds and passes its tests
    New(new::New),
    /// Run a plugin's native tests and its golden cases, natively and in the sandbox
    Test(test::Test),
    /// What a plugin makes of given bytes, as JSON lines
    Decode(decode::Decode),
    /// Build a plugin's folder into a folder that a developer's gateway loads
    #[command(after_help = "The folder holds Cargo.toml and manifest.toml. The package is put under target/packages/NAME-VERSION, \
                            beside cargo's own output.")]
    Build {
        /// The plugin's folder
        #[arg(value_name = "DIR", default_value = ".")]
        folder: PathBuf,
    },
    /// Put a plugin with all that belongs to it into one file
    Pack(pack::Pack),
    /// Make a vendor's pair of keys
    Keygen(keygen::Keygen),
    /// Sign a package file
    Sign(sign::Sign),
    /// Say whether a package file is whole, and whose it is
    Verify(verify::Verify),
    /// Take a package into this gateway by what it knows itself: for a site without a fleet, and the last step of `install`
    Accept(accept::Accept),
    /// Let one older release come back, by the site's key
    AllowOlder(accept::AllowOlder),
    /// Let one package take the place of another of its release, by the site's key
    AllowOther(accept::AllowOther),
    /// Say on one screen who made a package, what it asks for, and whether it would run here
    Inspect(inspect::Inspect),
    /// Print the folder of the fleet's metadata, for wardgate-trust
    #[command(hide = true)]
    TrustFolder {
        #[arg(long, short, value_name = "FILE")]
        config: PathBuf,
    },
    /// Write into the audit log that an install was refused, for wardgate-trust
    #[command(hide = true)]
    InstallRefused(accept::InstallRefused),
    /// Put a package into an OCI registry
    Push(elsewhere::Words),
    /// Get a package from an OCI registry into a file; `install` takes that
    Pull(elsewhere::Words),
    /// Take a package into this gateway: a file, or by its name from the fleet's repository
    Install(elsewhere::Words),
}

pub fn run(args: &Plugin) -> Result<(), Fault> {
    match &args.verb {
        Verb::New(new) => new::run(new),
        Verb::Test(test) => test::run(test),
        Verb::Decode(decode) => decode::run(decode),
        Verb::Pack(pack) => pack::run(pack),
        Verb::Keygen(keygen) => keygen::run(keygen),
        Verb::Sign(sign) => sign::run(sign),
        Verb::Verify(verify) => verify::run(verify),
        Verb::Accept(accept) => accept::run(accept),
        Verb::AllowOlder(older) => accept::allow_older(older),
        Verb::AllowOther(other) => accept::allow_other(other),
        Verb::InstallRefused(refused) => accept::install_refused(refused),
        Verb::Inspect(inspect) => inspect::run(inspect),
        Verb::TrustFolder { config } => {
            let folder = crate::config::Config::load(config)?.trust.folder.unwrap_or_default();
            let bytes = [folder.as_os_str().as_bytes(), b"\n"].concat();
            io::stdout().lock().write_all(&bytes).map_err(terminal)
        }
        Verb::Push(words) => elsewhere::run(&["plugin", "push"], words),
        Verb::Pull(words) => elsewhere::run(&["plugin", "pull"], words),
        Verb::Install(words) => elsewhere::run(&["plugin", "install"], words),
        Verb::Build { folder } => tell(&build(folder)?, &mut io::stdout().lock()).map_err(terminal),
    }
}

fn build(folder: &Path) -> Result<Built, Fault> {
    plugin::build(folder).map_err(|e| Fault::new(Guilty::Plugin, e, "correct it in the plugin's folder, then build again"))
}

fn terminal(why: io::Error) -> Fault {
    Fault::new(Guilty::Port, format!("cannot write to the terminal: {why}"), "")
}

fn refused(why: PluginError) -> Fault {
    let remedy = match &why {
        PluginError::NotThere { near: Some(near), .. } => format!("name {}", near.display()), // no line of gateway.toml is at fault here
        why => why.remedy("NAME"),
    };
    Fault::new(Guilty::Plugin, &why, remedy)
}

fn wrong_key(why: &KeyError) -> Fault {
    Fault::new(Guilty::Plugin, why, why.remedy())
}

/// A package for a newer gateway is whole all the same.
fn newer_is_fine<T>(why: PluginError) -> Result<Option<T>, PluginError> {
    if matches!(why, PluginError::NeedsGateway { .. }) { Ok(None) } else { Err(why) }
}

/// A package as it is, or a source folder built first.
fn ready(folder: &Path) -> Result<Arc<Prepared>, Fault> {
    trial::ready(&admitted(folder)?).map_err(refused)
}

/// A package, or what a plugin's source comes to.
fn admitted(folder: &Path) -> Result<Package, Fault> {
    let source = folder.join("Cargo.toml").is_file();
    if folder.is_dir() && !source && !folder.join(MANIFEST_FILE).is_file() {
        let what = format!("{} holds no plugin: neither Cargo.toml nor {MANIFEST_FILE} is there", folder.display());
        return Err(Fault::new(Guilty::Plugin, what, "name the plugin's folder, or a package; `wardgate plugin new` makes a plugin"));
    }
    let built = if source { build(folder)?.folder } else { folder.canonicalize().unwrap_or_else(|_| folder.to_owned()) };
    Package::admit(&built, &Admission::Desk).map_err(refused) // the writer's own, or about to be looked at
}

fn tell(built: &Built, out: &mut impl Write) -> io::Result<()> {
    let Built { manifest, surface, folder, component_bytes } = built;
    writeln!(out, "{} {}: {:.1} kB, {}", manifest.name, manifest.version, *component_bytes as f64 / 1000.0, surface.in_words())?;
    if !manifest.summary.is_empty() {
        writeln!(out, "    {}", manifest.summary)?;
    }
    for import in &surface.imports {
        writeln!(out, "    imports {import}")?;
    }
    for export in &surface.exports {
        writeln!(out, "    exports {export}")?;
    }
    writeln!(out, "package: {}", folder.display())?;
    writeln!(
        out,
        "next: `wardgate plugin pack` makes one file to sign; or, with allow_unsigned, name it in gateway.toml, then `wardgate check`:"
    )?;
    writeln!(out, "    [instance.bed-1]")?;
    writeln!(out, "    package = {:?}", folder.display().to_string())?;
    if manifest.links.is_empty() {
        writeln!(out, "    grants = {{}} # it touches no device")?;
    } else {
        writeln!(out, "    [instance.bed-1.grants] # without this it touches nothing")?;
    }
    for link in &manifest.links {
        match manifest.asks.get(link) {
            Some(ask) => writeln!(out, "    # {}\n    {}", ask.needs, ask.grant)?,
            None => writeln!(out, "    {link} = {{ ... }}")?,
        }
    }
    if !manifest.inputs.is_empty() {
        writeln!(out, "    [instance.bed-1.inputs] # which channels of which instances it hears")?;
    }
    for input in &manifest.inputs {
        writeln!(out, "    {} = \"INSTANCE/CHANNEL\" # {}", input.name, input.description)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::config::Manifest;
    use crate::plugin::Surface;

    #[derive(Debug, Parser)]
    struct Door {
        #[command(flatten)]
        plugin: Plugin,
    }

    #[test]
    fn the_folder_is_here_unless_it_is_named() {
        for (words, expected) in [(&["wardgate", "build"][..], "."), (&["wardgate", "build", "plugins/x"], "plugins/x")] {
            let Verb::Build { folder } = Door::parse_from(words).plugin.verb else { panic!("another verb") };
            assert_eq!(folder, PathBuf::from(expected));
        }
        assert!(Door::try_parse_from(["wardgate", "build", "a", "b"]).is_err());
    }

    #[test]
    fn a_folder_without_a_plugin_is_named_with_what_to_do() {
        let Err(refused) = ready(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))) else { panic!("it is no plugin") };
        assert!(refused.what.ends_with("runtime/src holds no plugin: neither Cargo.toml nor manifest.toml is there"), "{refused}");
        assert!(refused.remedy.starts_with("name the plugin's folder"), "{refused}");
    }

    #[test]
    fn it_tells_what_was_built_and_what_comes_next() {
        let text = "name = \"pump\"\nversion = \"1.2.3\"\nsummary = \"An infusion pump\"\nlinks = [\"serial\"]\n[channels]\n\
                    [asks.serial]\nneeds = \"It listens.\"\ngrant = 'serial = { port = \"/dev/x\" }'\n";
        let name = |interface: &str| format!("wardgate:device/{interface}@0.1.0");
        let built = Built {
            folder: "target/packages/pump-1.2.3".into(),
            manifest: Manifest::parse(text).unwrap(),
            surface: Surface {
                imports: vec![name("types"), name("gateway"), name("serial")],
                exports: vec![name("lifecycle"), name("serial-events")],
            },
            component_bytes: 41_234,
        };
        let mut out = Vec::new();
        tell(&built, &mut out).unwrap();
        let out = String::from_utf8(out).unwrap();
        for line in [
            "pump 1.2.3: 41.2 kB, reaches serial; hears serial\n    An infusion pump\n",
            "    imports wardgate:device/serial@0.1.0\n",
            "package: target/packages/pump-1.2.3\n",
            "    package = \"target/packages/pump-1.2.3\"\n    [instance.bed-1.grants] #",
            "    # It listens.\n    serial = { port = \"/dev/x\" }\n",
        ] {
            assert!(out.contains(line), "{out}");
        }
    }
}
