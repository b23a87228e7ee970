//! A package on its way into this gateway: everything that can be checked is checked, and then it lies in the folder of packages, for good.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::memory::{Memory, Ran, Remembered};
use super::{Known, Withheld};
use crate::contract::printable;
use crate::keys::PublicKey;
use crate::plugin::package::{self, Admission, Package};
use crate::plugin::{Claim, Flaw, PluginError, Signed};

/// What may be taken, and is not yet.
#[derive(Debug)]
pub struct Accepted {
    folder: PathBuf,
    bytes: Vec<u8>,
    pub path: PathBuf,
    pub claim: Claim,
    pub signed: Signed,
    /// A key whose signature lies there then: where there is no room for another good one, none of those that lie there goes.
    pub key: PublicKey,
    /// Why it may come in only because the site's key allows it.
    pub by_override: Option<&'static str>,
    /// What it would take the place of: another release of the same name and version, or a damaged file.
    pub replaces: Option<String>,
    pub package: Package,
    it: Ran,
}

const NAME_BYTES_MAX: usize = 120; // whoever made the file there wrote it

/// Whether `file` may come into `folder`. Nothing is written.
pub fn examine(file: &Path, folder: &Path, admission: &Admission, known: &Known) -> Result<Accepted, PluginError> {
    let mut sealed = package::sealed(file)?;
    let unsigned = || PluginError::Flawed { path: file.to_owned(), why: Flaw::Unsigned };
    let package = Package::unpack(file, &sealed, &admission.signers(file, &sealed)?)?;
    let signed = package.signed.clone().ok_or_else(unsigned)?;
    let claim = sealed.claim.clone();
    let (vendor, name, release) = (&claim.vendor, &claim.name, claim.release);
    let path = folder.join(format!("{}.{}", claim.full_name(), package::ENDING));
    let there = package::sealed(&path).ok();
    if there.as_ref().is_some_and(|there| there.claim.vendor != *vendor) {
        // an instance that names this file would change its maker without a word in gateway.toml
        let theirs = there.map(|there| format!("{}/{} release {}", there.claim.vendor, there.claim.name, there.claim.release));
        return Err(PluginError::OfAnother {
            path,
            theirs: printable(&theirs.unwrap_or_default(), NAME_BYTES_MAX),
            vendor: vendor.clone(),
        });
    }
    let (another, lost) =
        (there.as_ref().map(|there| there.claim.release).filter(|there| *there != release), there.is_none() && path.exists());
    let beside = there.as_ref().filter(|there| there.claim.release == release).map(|there| there.digest());
    if let Some(there) = there.filter(|there| there.digest() == signed.digest) {
        // the same package, which others of its vendor's keys may have signed: no good signature is thrown away
        sealed.join(&there, &admission.signers(&path, &there).unwrap_or_default(), &admission.signers(file, &sealed)?);
    }
    let key = sealed.signers().find(|key| **key == signed.key).or_else(|| sealed.signers().next()).copied().unwrap_or(signed.key);
    let bytes = sealed.write();
    // what an instance ran last is nothing new, though a newer one was taken since: its file may have been lost
    let it = Ran { package: format!("{vendor}/{name}"), release, digest: Some(signed.digest.clone()), file: None };
    let (exactly, ran) = (known.memory.ran_last_exactly_somewhere(&it), known.memory.ran_last_somewhere(&it));
    // what was seen here mends a file that is damaged; what is new does not take its place
    let lost = lost && !ran && !known.memory.knows(vendor, name, release);
    let replaces = another.map(|there| format!("release {there}")).or_else(|| lost.then(|| "a damaged file".to_owned()));
    let news = || match (exactly, ran) {
        (true, _) => None, // and if another package of that release came since, by an override
        (false, true) => known.other(name, &signed, beside.as_deref()),
        (false, false) => known.news(name, &signed, beside.as_deref()),
    };
    if let Some(why) = known.revoked(name, &signed).or_else(news) {
        return Err(withheld(&claim, why));
    }
    let older = !ran && known.memory.newest_release(vendor, name).is_some_and(|seen| release < seen);
    let other = !exactly && known.memory.digest(vendor, name, release).or(beside.as_deref()).is_some_and(|seen| seen != signed.digest);
    let by_override = match (older, other) {
        (_, true) => Some("another package of the same release, by the site's override"),
        (true, false) => Some("an older release, by the site's override"),
        (false, false) => None,
    };
    Ok(Accepted { folder: folder.to_owned(), bytes, path, claim, signed, key, by_override, replaces, package, it })
}

impl Accepted {
    /// What `instance`, which names the file that this would come into, ran last from there, where that was something else; or what lies there now.
    /// `config`: gateway.toml; `package`: how it names that file.
    pub fn instead_of(&self, instance: &str, config: &Path, package: &Path, memory: &Remembered) -> Option<String> {
        let (named, folder) = (named_from(config, package), config.parent().unwrap_or(Path::new("")));
        let from_here = |ran: &&Ran| ran.file.as_ref().is_some_and(|file| *file == named || is_one_file(&folder.join(file), &self.path));
        match memory.ran.get(instance).filter(from_here) {
            Some(_) if memory.ran_last(instance, &self.it) => None,
            Some(ran) => Some(format!("{} release {}", ran.package, ran.release)),
            None => self.replaces.clone(),
        }
    }

    /// Into the folder, and then into what is remembered: a mark of a release that never came would shut out the one before it.
    pub fn put(&self, memory: &Memory) -> Result<(), PluginError> {
        let failed = |why| PluginError::File { path: self.path.clone(), what: "cannot be written", why };
        put(&self.folder, &self.path, &self.bytes).map_err(failed)?;
        let Claim { vendor, name, release, .. } = &self.claim;
        let remembered = memory.change(|m| m.saw(vendor, name, *release, Some(&self.signed.digest)));
        remembered.map_err(|e| withheld(&self.claim, Withheld::Memory { path: e.path().to_owned(), why: e.to_string() }))?;
        Ok(())
    }
}

/// As gateway.toml has it, from its own folder on: a folder that was moved with all that is in it holds the same.
pub fn named_from(config: &Path, package: &Path) -> String {
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let (folder, package) = (absolute(config).parent().map(Path::to_owned).unwrap_or_default(), absolute(package));
    package.strip_prefix(folder).unwrap_or(&package).display().to_string()
}

const LINKS_MAX: usize = 8; // one that leads to another

/// Also where nothing lies there now.
pub fn is_one_file(one: &Path, other: &Path) -> bool {
    real(one, LINKS_MAX) == real(other, LINKS_MAX)
}

fn real(path: &Path, links: usize) -> PathBuf {
    if let Ok(real) = path.canonicalize() {
        return real;
    }
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return path };
    match fs::read_link(&path) {
        Ok(target) if links > 0 => real(&folder.join(target), links - 1),
        _ => real(folder, links).join(name),
    }
}

fn withheld(claim: &Claim, why: Withheld) -> PluginError {
    PluginError::Withheld { plugin: claim.full_name(), why: Box::new(why) }
}

/// In one piece, and on flash when this returns.
fn put(folder: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o755).create(folder)?;
    let scratch = path.with_extension(format!("new-{}", std::process::id()));
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o644).open(&scratch)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&scratch, path)?;
        File::open(folder)?.sync_all()
    })();
    if written.is_err() {
        let _ = fs::remove_file(&scratch); // the first error is the one to tell
    }
    written
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// However a file is named, and whether it lies there or not.
    //= PROMISES.md#P344
    #[test]
    fn a_file_is_known_by_each_of_its_names_also_where_it_is_lost() {
        let folder = crate::plugin::cache::test_folder("one-file");
        let (packages, file) = (folder.join("packages"), folder.join("packages/a.wardgate"));
        fs::create_dir_all(&packages).unwrap();
        fs::create_dir_all(folder.join("in")).unwrap();
        symlink("../packages/a.wardgate", folder.join("in/b.wardgate")).unwrap();
        symlink("packages", folder.join("other")).unwrap();
        symlink("loop", folder.join("loop")).unwrap();
        let check = || {
            for name in ["packages/a.wardgate", "in/b.wardgate", "other/a.wardgate", "in/../packages/a.wardgate"] {
                assert!(is_one_file(&folder.join(name), &file), "{name}");
            }
            for name in ["packages/c.wardgate", "in/a.wardgate", "loop"] {
                assert!(!is_one_file(&folder.join(name), &file), "{name}");
            }
        };
        check();
        fs::write(&file, "").unwrap();
        check();
        fs::remove_dir_all(&packages).unwrap();
        assert!(is_one_file(&folder.join("packages/a.wardgate"), &file) && is_one_file(&folder.join("in/b.wardgate"), &file));
    }

    #[test]
    fn a_file_is_named_from_the_folder_of_the_configuration_where_it_lies_below() {
        let named = |config: &str, package: &str| named_from(Path::new(config), Path::new(package));
        assert_eq!(named("/site/gateway.toml", "/site/packages/a.wardgate"), "packages/a.wardgate");
        assert_eq!(named("/moved/gateway.toml", "/moved/packages/a.wardgate"), "packages/a.wardgate");
        assert_eq!(named("gateway.toml", "packages/a.wardgate"), "packages/a.wardgate");
        assert_eq!(named("/site/gateway.toml", "/var/a.wardgate"), "/var/a.wardgate");
    }
}
