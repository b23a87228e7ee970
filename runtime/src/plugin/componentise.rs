//! From a plugin's folder to its package: cargo, then the core module into a component, then the same checks that the gateway makes.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;
use wasmparser::{Parser, Payload};
use wit_component::ComponentEncoder;

use super::package::{self, COMPONENT_BYTES_MAX, COMPONENT_FILE, MANIFEST_FILE};
use super::{Mismatch, PluginError, Surface};
use crate::config::Manifest;
use crate::contract::{PACKAGE, printable};

pub(super) const TARGET: &str = "wasm32-unknown-unknown";
const PROFILE: &str = "plugin";
const NAME_BYTES_MAX: usize = 200; // of an import, shown to a person

/// A package that was just written.
#[derive(Debug)]
pub struct Built {
    pub folder: PathBuf,
    pub manifest: Manifest,
    pub surface: Surface,
    pub component_bytes: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error("{} holds no {what}, so it is not the folder of a plugin; plugins/README.md says what one holds", folder.display())]
    NotAPlugin { folder: PathBuf, what: &'static str },
    #[error(transparent)]
    Manifest(#[from] PluginError),
    #[error("cannot run {program}: {why}. Install Rust from https://rustup.rs")]
    NoTool { program: String, why: io::Error },
    #[error("the compiler has no {TARGET} here. Install it: `rustup target add {TARGET}` in {}", folder.display())]
    NoTarget { folder: PathBuf },
    #[error("cargo could not build {}; it says why above", folder.display())]
    Cargo { folder: PathBuf },
    #[error("{} builds no WebAssembly module. Add `[lib]` with `crate-type = [\"cdylib\"]`", cargo_toml.display())]
    NoModule { cargo_toml: PathBuf },
    #[error("{} says version {manifest}, Cargo.toml beside it says {cargo}. Make them the same", path.display())]
    Versions { path: PathBuf, manifest: String, cargo: String },
    #[error("{}: {why}", path.display())]
    Module { path: PathBuf, why: ComponentiseError },
    #[error("{} is {bytes} bytes as a component, {COMPONENT_BYTES_MAX} are the most that a gateway takes", path.display())]
    TooLarge { path: PathBuf, bytes: usize },
    #[error("{} {why}", path.display())]
    Mismatch { path: PathBuf, why: Mismatch },
    #[error("{}: cannot write: {why}", path.display())]
    Write { path: PathBuf, why: io::Error },
}

#[derive(Debug, thiserror::Error)]
pub enum ComponentiseError {
    #[error("is not a WebAssembly module: {0}")]
    Unreadable(String),
    #[error(
        "imports {0}, but a plugin may import {PACKAGE} only. Some crate in it wants an operating system: build without WASI, and look for what brings it with `cargo tree`"
    )]
    Foreign(String),
    #[error("does not become a component: {0}. Use the SDK's `plugin!` once, with the links that it implements")]
    Encode(String),
}

/// A core module with its interface inside becomes a component, whole and valid, or an error.
pub fn componentise(module: &[u8]) -> Result<Vec<u8>, ComponentiseError> {
    for payload in Parser::new(0).parse_all(module) {
        if let Payload::ImportSection(section) = payload.map_err(unreadable)? {
            for import in section.into_imports() {
                let import = import.map_err(unreadable)?;
                if !import.module.starts_with(PACKAGE) {
                    let name = format!("{}::{}", import.module, import.name);
                    return Err(ComponentiseError::Foreign(printable(&name, NAME_BYTES_MAX)));
                }
            }
        }
    }
    let encoded = ComponentEncoder::default().validate(true).module(module).and_then(|mut encoder| encoder.encode());
    encoded.map_err(|e| ComponentiseError::Encode(format!("{e:#}")))
}

fn unreadable(why: wasmparser::BinaryReaderError) -> ComponentiseError {
    ComponentiseError::Unreadable(why.to_string())
}

/// Builds the plugin in `folder` and writes its package. Cargo speaks to the terminal itself.
pub fn build(folder: &Path) -> Result<Built, BuildError> {
    for what in ["Cargo.toml", MANIFEST_FILE] {
        if !folder.join(what).is_file() {
            return Err(BuildError::NotAPlugin { folder: folder.to_owned(), what });
        }
    }
    let manifest = package::manifest(folder)?;
    let shipped = package::shipped(folder, &manifest)?;
    has_target(folder)?;
    let module = cargo(folder)?;
    if let Some(cargo) = module.version.filter(|cargo| *cargo != manifest.version) {
        return Err(BuildError::Versions { path: folder.join(MANIFEST_FILE), manifest: manifest.version, cargo });
    }
    let path = module.path;
    let core = fs::read(&path).map_err(|why| BuildError::Write { path: path.clone(), why })?;
    let component = componentise(&core).map_err(|why| BuildError::Module { path: path.clone(), why })?;
    if component.len() as u64 > COMPONENT_BYTES_MAX {
        return Err(BuildError::TooLarge { path, bytes: component.len() });
    }
    let checked = Surface::read(&component).and_then(|surface| surface.matches(&manifest).map(|()| surface));
    let surface = checked.map_err(|why| BuildError::Mismatch { path: path.clone(), why })?;
    // target/wasm32-unknown-unknown/plugin/name.wasm: whichever workspace it is, this is its target folder.
    let target = path.ancestors().nth(3).unwrap_or(folder);
    let out = target.join("packages").join(manifest.full_name());
    let text = fs::read(folder.join(MANIFEST_FILE)).map_err(|why| BuildError::Write { path: folder.join(MANIFEST_FILE), why })?;
    fs::create_dir_all(&out).map_err(|why| BuildError::Write { path: out.clone(), why })?;
    for inner in shipped.keys() {
        carry(&folder.join(inner), &out.join(inner))?;
    }
    replace(&out.join(MANIFEST_FILE), &text)?;
    replace(&out.join(COMPONENT_FILE), &component)?;
    Ok(Built { folder: out, manifest, surface, component_bytes: component.len() as u64 })
}

/// What lies in one folder, into another: what it held and no longer has goes.
fn carry(from: &Path, to: &Path) -> Result<(), BuildError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |why| BuildError::Write { path, why }
    };
    let names = |folder: &Path| -> io::Result<Vec<_>> { fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name())).collect() };
    fs::create_dir_all(to).map_err(failed(to))?;
    let wanted = names(from).map_err(failed(from))?;
    for name in &wanted {
        let bytes = fs::read(from.join(name)).map_err(failed(&from.join(name)))?;
        replace(&to.join(name), &bytes)?;
    }
    for old in names(to).map_err(failed(to))?.iter().filter(|name| !wanted.contains(name)) {
        fs::remove_file(to.join(old)).map_err(failed(&to.join(old)))?;
    }
    Ok(())
}

fn replace(path: &Path, bytes: &[u8]) -> Result<(), BuildError> {
    package::replace(path, bytes).map_err(|why| BuildError::Write { path: path.to_owned(), why })
}

/// Asked beforehand, because what cargo says without it ("can't find crate for `core`") helps nobody.
fn has_target(folder: &Path) -> Result<(), BuildError> {
    let mut rustc = Command::new("rustc");
    rustc.args(["--print", "target-libdir", "--target", TARGET]).current_dir(folder).stderr(Stdio::inherit());
    let said = rustc.output().map_err(|why| BuildError::NoTool { program: "rustc".into(), why })?;
    let libraries = String::from_utf8_lossy(&said.stdout);
    if said.status.success() && Path::new(libraries.trim()).is_dir() {
        Ok(())
    } else {
        Err(BuildError::NoTarget { folder: folder.to_owned() })
    }
}

struct Module {
    path: PathBuf,
    version: Option<String>,
}

pub(super) fn cargo_program() -> std::ffi::OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

fn cargo(folder: &Path) -> Result<Module, BuildError> {
    let program = cargo_program();
    let no_tool = |why| BuildError::NoTool { program: program.display().to_string(), why };
    let mut cargo = Command::new(&program);
    cargo.args(["build", "--target", TARGET, "--message-format=json-render-diagnostics"]);
    // A workspace tunes the profile `plugin`; one that does not know it gets `release` under that name.
    cargo.args(["--profile", PROFILE, "--config", &format!("profile.{PROFILE}.inherits=\"release\"")]);
    let done = cargo.current_dir(folder).stderr(Stdio::inherit()).output().map_err(no_tool)?;
    if !done.status.success() {
        return Err(BuildError::Cargo { folder: folder.to_owned() });
    }
    let cargo_toml = folder.join("Cargo.toml");
    let here = fs::canonicalize(&cargo_toml).map_err(|why| BuildError::Write { path: cargo_toml.clone(), why })?;
    module_of(&String::from_utf8_lossy(&done.stdout), &here).ok_or(BuildError::NoModule { cargo_toml })
}

#[derive(Deserialize)]
struct Message {
    reason: String,
    #[serde(default)]
    package_id: String,
    #[serde(default)]
    manifest_path: PathBuf,
    #[serde(default)]
    filenames: Vec<PathBuf>,
}

/// Finds what cargo made of the package at `here` among its messages, one JSON a line.
fn module_of(messages: &str, here: &Path) -> Option<Module> {
    let read = messages.lines().filter_map(|line| serde_json::from_str::<Message>(line).ok());
    let mut ours = read.filter(|m| m.reason == "compiler-artifact" && m.manifest_path == here);
    ours.find_map(|m| {
        let path = m.filenames.into_iter().find(|name| name.extension().is_some_and(|e| e == "wasm"))?;
        // path+file:///plugins/x#0.1.0 or ...#name@0.1.0
        let version = m.package_id.rsplit(['#', '@']).next().map(str::to_owned);
        Some(Module { path, version })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_module_is_found_among_cargos_messages() {
        let line = |id: &str, path: &str, file: &str| {
            format!(r#"{{"reason":"compiler-artifact","package_id":"{id}","manifest_path":"{path}","target":{{}},"filenames":["{file}"]}}"#)
        };
        let said = [
            r#"{"reason":"compiler-message","message":{}}"#.to_owned(),
            line("registry+x#wit-bindgen@0.61.1", "/r/Cargo.toml", "/t/libwit.rlib"),
            line("path+file:///p/other#1.0.0", "/p/other/Cargo.toml", "/t/wasm32-unknown-unknown/release/other.wasm"),
            line("path+file:///p/ivy#ivy450c@0.1.2", "/p/ivy/Cargo.toml", "/t/wasm32-unknown-unknown/release/ivy450c.wasm"),
            "not json".to_owned(),
        ]
        .join("\n");
        let module = module_of(&said, Path::new("/p/ivy/Cargo.toml")).unwrap();
        assert_eq!(module.path, Path::new("/t/wasm32-unknown-unknown/release/ivy450c.wasm"));
        assert_eq!(module.version.as_deref(), Some("0.1.2"));
        assert!(module_of(&said, Path::new("/p/Cargo.toml")).is_none());
    }

    #[test]
    fn a_module_that_wants_an_operating_system_is_refused_by_name() {
        // (module (import "wasi_snapshot_preview1" "fd_write" (func)))
        let module = b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x02\x23\x01\x16wasi_snapshot_preview1\x08fd_write\0\0".to_vec();
        let why = componentise(&module).unwrap_err().to_string();
        assert!(why.contains("wasi_snapshot_preview1::fd_write") && why.contains("cargo tree"), "{why}");
        for n in 0..module.len() {
            // Cut between two sections it is a whole module that does nothing; what it lacks is the manifest's affair.
            assert_eq!(componentise(&module[..n]).is_ok(), [8, 14].contains(&n), "cut at {n}");
        }
    }
}
