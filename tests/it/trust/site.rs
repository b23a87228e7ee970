//! A fleet's desk, two vendors and a gateway's trust folder below one folder, and the verbs run there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value as Json;
use wardgate_lab::process::binary;

use crate::tamper::{key, tiny_into};
use crate::ward::Folder;

/// The day of these tests.
pub const NOW: &str = "2026-12-01T12:00:00Z";
/// A day later, and long after everything has ended.
pub const LATER: &str = "2026-12-02T12:00:00Z";
pub const LONG_AFTER: &str = "2027-12-01T12:00:00Z";
pub const NEVER_SET: &str = "1970-01-01T00:00:07Z";

pub struct Site(Folder);

impl Site {
    /// Only the vendors' keys: acme has key 1, other has key 2.
    pub fn bare(name: &str) -> Self {
        let site = Self(Folder::new(name));
        fs::create_dir_all(site.path("")).expect("a folder");
        for (vendor, n) in [("acme", 1), ("other", 2)] {
            fs::write(site.path(&format!("{vendor}.pub")), key(n).public().pem()).expect("written");
        }
        fs::write(
            site.path("acme.key"),
            "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n-----END PRIVATE KEY-----\n",
        )
        .expect("written");
        site
    }

    /// A fleet that trusts both and has a package of each.
    pub fn new(name: &str) -> Self {
        let site = Self::bare(name);
        site.well(&["trust", "init", "fleet"]);
        for (vendor, n) in [("acme", 1), ("other", 2)] {
            site.well(&["trust", "add-vendor", vendor, "--key", &format!("{vendor}.pub"), "--fleet", "fleet"]);
            tiny_into(&site.path("packages").join(vendor), vendor, "1.0.0", 1, n);
        }
        let packages = ["acme", "other"].map(|v| format!("packages/{v}/t-1.0.0.wardgate"));
        site.well(&["trust", "publish", &packages[0], &packages[1], "--fleet", "fleet"]);
        site
    }

    pub fn path(&self, inside: &str) -> PathBuf {
        self.0.0.join(inside)
    }

    /// On the day of these tests, where the verb looks at a clock.
    pub fn run(&self, words: &[&str], now: Option<&str>) -> Output {
        let mut command = Command::new(binary("wardgate-trust").unwrap_or_else(|why| panic!("{why}")));
        command.args(words).current_dir(&self.0.0);
        if let Some(now) = now.filter(|_| !matches!(words, ["plugin", "push" | "pull", ..])) {
            command.args(["--now", now]);
        }
        command.output().expect("it runs")
    }

    pub fn well(&self, words: &[&str]) -> String {
        said(&self.run(words, Some(NOW))).unwrap_or_else(|why| panic!("{words:?}: {why}"))
    }

    pub fn well_of(&self, words: &[String]) -> String {
        self.well(&words.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// What it says on standard error, which ends with what to do.
    pub fn badly(&self, code: i32, words: &[&str]) -> String {
        let done = self.run(words, Some(NOW));
        let why = said(&done).expect_err("it went well");
        assert_eq!(done.status.code(), Some(code), "{words:?}: {why}");
        assert!(code == 2 || why.contains("what to do: "), "{why}");
        why
    }

    pub fn badly_of(&self, code: i32, words: &[String]) -> String {
        self.badly(code, &words.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// The gateway takes over what the desk has.
    pub fn update(&self) -> Result<String, String> {
        self.update_from("fleet/repository", NOW)
    }

    pub fn update_from(&self, from: &str, now: &str) -> Result<String, String> {
        let mut words = vec!["trust", "update", "--from", from, "--to", "gw"];
        if !self.path("gw/root.json").exists() {
            words.extend(["--root", "fleet/repository/metadata/1.root.json"]);
        }
        said(&self.run(&words, Some(now)))
    }

    /// That this source is refused in these words, and changes nothing that the gateway reads.
    pub fn refused(&self, from: &str, words: &str) {
        let before = (fs::read(self.path("gw/fleet.json")).ok(), self.vendors());
        let why = self.update_from(from, NOW).expect_err("it was taken");
        assert!(why.contains(words), "{words:?} is not in: {why}");
        assert_eq!((fs::read(self.path("gw/fleet.json")).ok(), self.vendors()), before, "what was there stays in force");
    }

    fn vendors(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path("gw/vendors")).into_iter().flatten();
        let mut names: Vec<_> = entries.map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// Up to the gateway's own part, which `wardgate plugin accept` does.
    pub fn install(&self, package: &str) -> Result<String, String> {
        self.install_at(package, NOW)
    }

    pub fn install_at(&self, package: &str, now: &str) -> Result<String, String> {
        said(&self.run(&["plugin", "install", package, "--trust", "gw", "--config", "gateway.toml"], Some(now)))
    }

    pub fn fleet(&self) -> Json {
        serde_json::from_slice(&fs::read(self.path("gw/fleet.json")).expect("written by an update")).expect("JSON")
    }

    /// A copy of a folder, as a stick or an attacker keeps one; its name.
    pub fn copy(&self, from: &str, to: &str) -> String {
        copied(&self.path(from), &self.path(to));
        to.to_owned()
    }
}

fn copied(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let (path, beside) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copied(&path, &beside);
        } else {
            fs::copy(&path, &beside).expect("copied");
        }
    }
}

fn said(done: &Output) -> Result<String, String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if done.status.success() { Ok(text(&done.stdout)) } else { Err(text(&done.stderr)) }
}
