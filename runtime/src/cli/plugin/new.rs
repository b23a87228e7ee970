//! `wardgate plugin new`: a plugin from a template, with SDK and contract beside it, so that it builds anywhere.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use crate::fault::{Fault, Guilty};

/// The checkout's own files: `(path, text)`. The templates are crates of the workspace `plugins`, built and tested there.
const CARRIED: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/carried.rs"));
const NAME_BYTES_MAX: usize = 40; // as in a manifest
const BESIDE: &str = "wardgate"; // the folder of what is not the author's
const OURS: &str = "wardgate-plugin-"; // how the checkout's own plugins begin

#[derive(Debug, Args)]
#[command(
    after_help = "NAME is the folder to make, and the plugin's name: 1 to 40 of a-z 0-9 -, beginning with a letter. It holds all that it \
                        needs: the SDK, the testkit and the contract are written to NAME/wardgate.\n\nExamples:\n  wardgate plugin new \
                        thermometer --link serial\n  wardgate plugin test thermometer"
)]
pub struct New {
    /// The folder to make; its last part is the plugin's name
    #[arg(value_name = "NAME")]
    folder: PathBuf,
    /// What the device hangs on; a filter computes from other devices' readings
    #[arg(long, value_enum)]
    link: Kind,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    Modbus,
    Serial,
    Ble,
    Filter,
}

pub fn run(args: &New) -> Result<(), Fault> {
    let name = args.folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    check_name(name)?;
    if args.folder.exists() {
        return Err(wrong(format!("{} is there already", args.folder.display()), "take another name, or remove it"));
    }
    let link = args.link.to_possible_value().expect("none is hidden").get_name().to_owned();
    for (path, text) in files(name, &link) {
        write(&args.folder.join(path), &text)
            .map_err(|why| Fault::new(Guilty::Store, format!("{}: {why}", args.folder.display()), "make room, or take another folder"))?;
    }
    let what = match args.link {
        Kind::Filter => "a filter of other devices' readings".to_owned(),
        _ => format!("a plugin for a device on {link}"),
    };
    println!(
        "{}: {what}\nnext:\n    wardgate plugin test {0}\n    edit src/decode.rs, src/lib.rs and manifest.toml there",
        args.folder.display()
    );
    Ok(())
}

/// The manifest's rule, and cargo's.
fn check_name(name: &str) -> Result<(), Fault> {
    let known = name.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-');
    let begins = name.starts_with(|c: char| c.is_ascii_lowercase());
    if !known || !begins || name.ends_with('-') || name.len() > NAME_BYTES_MAX {
        return Err(wrong(
            format!("\"{name}\" is no name for a plugin"),
            format!("1 to {NAME_BYTES_MAX} of a-z 0-9 -, beginning with a letter and not ending with -: infusion-pump"),
        ));
    }
    // Crates that a plugin is built with, Rust's own words, and what cargo refuses.
    const TAKEN: [&str; 18] = [
        "core",
        "std",
        "alloc",
        "test",
        "proc-macro",
        "wardgate",
        "wardgate-sdk",
        "wardgate-testkit",
        "wit-bindgen",
        "serde-json",
        "self",
        "super",
        "crate",
        "fn",
        "match",
        "type",
        "build",
        "deps",
    ];
    if TAKEN.contains(&name) {
        return Err(wrong(format!("\"{name}\" is taken by Rust or by the SDK"), "take another name, such as that of the device"));
    }
    Ok(())
}

fn wrong(what: impl std::fmt::Display, remedy: impl std::fmt::Display) -> Fault {
    Fault::new(Guilty::Plugin, what, remedy)
}

/// Everything that a new plugin's folder holds.
fn files(name: &str, link: &str) -> Vec<(PathBuf, String)> {
    let (template, crate_name) = (format!("template-{link}"), format!("template_{link}"));
    let rename = |text: &str| text.replace(&template, name).replace(&crate_name, &name.replace('-', "_"));
    let mut made = vec![(".gitignore".into(), "/target/\n".to_owned())];
    for (path, text) in CARRIED {
        let (path, text) = match path.split_once('/') {
            Some(("wit", file)) => (Path::new(BESIDE).join("wit").join(file), (*text).to_owned()),
            Some(("plugins", inside)) => match inside.split_once('/') {
                Some(("template", rest)) => match rest.split_once('/').filter(|(of, _)| *of == link) {
                    Some((_, "Cargo.toml")) => ("Cargo.toml".into(), rename(text) + "\n" + &workspace()),
                    Some((_, file)) => (file.into(), rename(text)),
                    None => continue,
                },
                // the contract lies one folder nearer than in the checkout
                Some(("sdk" | "testkit", _)) => (Path::new(BESIDE).join(inside), text.replace("../../wit", "../wit")),
                _ if inside == "Cargo.toml" => continue, // the plugin's own holds it
                _ if inside == "Cargo.lock" => (inside.into(), lock(text, &template, name)),
                _ => (inside.into(), (*text).to_owned()),
            },
            _ => ((*path).into(), (*text).to_owned()),
        };
        made.push((path, text));
    }
    made
}

/// The checkout's workspace around one plugin: the same versions, lints and profiles.
fn workspace() -> String {
    let (_, text) = CARRIED.iter().find(|(path, _)| *path == "plugins/Cargo.toml").expect("the build script lists it");
    let line = |line: &str| match line.split_once(" = ") {
        Some(("members", _)) => format!("members = [\".\", \"{BESIDE}/sdk\", \"{BESIDE}/testkit\"]"),
        _ => line.replace("path = \"", &format!("path = \"{BESIDE}/")),
    };
    // its first line, and how its plugins' tests are built, is about the checkout
    text.lines().skip(1).filter(|l| !l.starts_with(OURS)).map(|l| line(l) + "\n").collect()
}

/// The checkout's lock file without the crates that stay there, as cargo would write it: so `--locked` holds from the first build on.
fn lock(text: &str, template: &str, name: &str) -> String {
    let (head, packages) = text.split_once("[[package]]\n").unwrap_or((text, ""));
    let mut kept = Vec::new();
    for package in packages.split("[[package]]\n") {
        let of = package.lines().find_map(|l| l.strip_prefix("name = \"")?.strip_suffix('"')).unwrap_or_default();
        if of == template {
            kept.push((name, package.replacen(template, name, 1)));
        } else if !of.starts_with("template-") && !of.starts_with(OURS) {
            kept.push((of, package.to_owned()));
        }
    }
    kept.sort_by_key(|(of, _)| *of); // stable: versions of one crate are in order already
    let packages: Vec<_> = kept.iter().map(|(_, package)| format!("[[package]]\n{}\n", package.trim_end())).collect();
    head.to_owned() + &packages.join("\n")
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
    fs::write(path, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_that_cargo_and_the_manifest_take() {
        for good in ["pump", "infusion-pump-2", "x"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", "Pump", "2pump", "-pump", "pump-", "pump_2", "p/q", "pümp", "test", "wardgate-sdk", &"x".repeat(41)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn every_kind_has_its_files_and_nothing_of_the_template_is_left() {
        for link in ["modbus", "serial", "ble", "filter"] {
            let made = files("infusion-pump", link);
            let text = |wanted: &str| &made.iter().find(|(path, _)| path == Path::new(wanted)).unwrap_or_else(|| panic!("{wanted}")).1;
            assert!(text("manifest.toml").starts_with("name = \"infusion-pump\"\n"));
            assert!(text("Cargo.toml").contains("members = [\".\", \"wardgate/sdk\", \"wardgate/testkit\"]"));
            for file in
                ["src/lib.rs", "src/decode.rs", "src/tests.rs", "README.md", "rust-toolchain.toml", "Cargo.lock", "wardgate/wit/types.wit"]
            {
                assert!(!text(file).is_empty());
            }
            for (path, text) in &made {
                assert!(!text.contains(&format!("template-{link}")) && !text.contains(OURS), "{}", path.display());
            }
            assert!(text("Cargo.lock").contains("[[package]]\nname = \"infusion-pump\"\n"));
        }
    }
}
