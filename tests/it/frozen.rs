//! What was released stays: a package of that day opens and runs on the host of today, and the contract only ever grows where it may.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use wardgate::contract::VERSION;
use wardgate::plugin::{Admission, Host, Package, sealed, trial};
use wardgate_lab::process::root;
use wit_component::semver_check;
use wit_parser::Resolve;

use crate::tamper::key;
use crate::ward::Folder;

const WORLDS: [&str; 4] = ["serial-adapter", "modbus-adapter", "ble-adapter", "filter"];

/// Names and texts of a folder's files, without comments: those may be made better.
fn contract(folder: &Path) -> Vec<(String, String)> {
    let listed = fs::read_dir(folder).expect("a folder of the contract").map(|entry| entry.expect("readable").path());
    let files = listed.filter(|path| path.extension().is_some_and(|ending| ending == "wit"));
    let bare = |text: String| {
        text.lines().filter_map(|l| l.split("//").next()).map(str::trim_end).filter(|l| !l.is_empty()).map(|l| format!("{l}\n")).collect()
    };
    let name = |path: &PathBuf| path.file_name().expect("a file").to_string_lossy().into_owned();
    let mut all: Vec<(String, String)> = files.map(|path| (name(&path), bare(fs::read_to_string(&path).expect("text")))).collect();
    all.sort();
    all
}

fn releases() -> Vec<String> {
    let listed = fs::read_dir(root().join("wit/frozen")).expect("frozen contracts");
    let mut all: Vec<_> = listed.map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned()).collect();
    all.sort();
    all
}

/// Whether what was built for `old` fits a host of `new`, world by world.
fn fits(old: &[(String, String)], new: &[(String, String)], scratch: &Path) -> Result<(), String> {
    for world in WORLDS {
        let mut resolve = Resolve::default();
        // the checker leaves versions aside, and two packages of one name and version would be one
        let mut push = |texts: &[(String, String)], version: &str| {
            let folder = scratch.join(version);
            fs::create_dir_all(&folder).expect("a folder");
            for (name, text) in texts {
                fs::write(folder.join(name), text.replace(&format!("device@{VERSION}"), &format!("device@{version}"))).expect("written");
            }
            resolve.push_dir(&folder).map(|(package, _)| package).map_err(|e| format!("{e:#}"))
        };
        let (old, new) = (push(old, "0.0.1")?, push(new, "0.0.2")?);
        let select = |package| resolve.select_world(&[package], Some(world)).map_err(|e| format!("{e:#}"));
        let (old, new) = (select(old)?, select(new)?);
        semver_check(resolve.clone(), old, new).map_err(|e| format!("{world}: {e:#}"))?;
    }
    Ok(())
}

//= PROMISES.md#P114
#[test]
fn the_contract_is_what_was_frozen_and_grows_only_where_it_may() {
    assert!(releases().contains(&VERSION.to_owned()), "{VERSION} is released, and not frozen under wit/frozen");
    let scratch = Folder::new("frozen-wit");
    let now = contract(&root().join("wit"));
    for release in releases() {
        let frozen = contract(&root().join("wit/frozen").join(&release));
        if release == VERSION {
            assert_eq!(frozen, now, "wit/ still calls itself {VERSION}, which is frozen: a change needs a new version");
        }
        fits(&frozen, &now, &scratch.0).unwrap_or_else(|why| panic!("what was built for {release} does not run any more: {why}"));
    }
    // that this can fail: a function that a plugin may call is growth, everything else breaks what is there
    let edited = |file: &str, from: &str, to: &str| {
        let mut other = now.clone();
        let text = &mut other.iter_mut().find(|(name, _)| name == file).expect("a file").1;
        assert!(text.contains(from), "{from}");
        *text = text.replacen(from, to, 1);
        fits(&now, &other, &scratch.0)
    };
    edited("gateway.wit", "  report: func", "  more: func();\n  report: func").expect("an import more is growth");
    for (file, from, to) in [
        ("gateway.wit", "  report: func(health: health, detail: string);", ""),
        ("gateway.wit", "cancel-timer: func(tag: tag);", "cancel-timer: func(tag: tag, all: bool);"),
        ("gateway.wit", "seed: u64", "seed: u64, more: u8"),
        ("gateway.wit", "  timer: func(now: moment, tag: tag)", "  more: func();\n  timer: func(now: moment, tag: tag)"),
        ("gateway.wit", "enum level { debug,", "enum level { trace, debug,"),
    ] {
        assert!(edited(file, from, to).is_err(), "{from} -> {to:?} was taken for growth");
    }
}

/// The package was made and signed when 0.1.0 was frozen, from the template for serial lines, without function names to be small.
//= PROMISES.md#P115
#[test]
fn a_package_of_the_frozen_contract_opens_and_says_to_the_letter_what_it_said() {
    let folder = Folder::new("frozen-package");
    fs::create_dir_all(&folder.0).expect("a folder");
    fs::write(folder.0.join("my-company.pub"), key(1).public().pem()).expect("written");
    let site = Admission::Site { allow_unsigned: false, vendors: Some(folder.0.clone()) };
    for release in releases() {
        let path = root().join("tests/frozen").join(&release).join(format!("frozen-{release}.wardgate"));
        let package = Package::admit(&path, &site).unwrap_or_else(|why| panic!("{why}"));
        assert_eq!(package.signed.as_ref().map(|by| by.release), Some(1));
        let ready = trial::ready_in(Arc::new(Host::probe().expect("a host")), &package).unwrap_or_else(|why| panic!("{why}"));
        let inside = sealed(&path).expect("read before");
        let text = |path: &str| inside.file(path).map(|file| String::from_utf8_lossy(&file.bytes).into_owned());
        let case = text("golden/lines.json").expect("its golden case");
        let steps = trial::packed_case(&ready, &case, &text).expect("a case").unwrap_or_else(|difference| panic!("{difference}"));
        assert!(steps >= 4, "{steps} steps");
        // and it can say something else: the case with another digit differs
        let other = case.replace("\"350a\"", "\"370a\"");
        assert!(other != case && trial::packed_case(&ready, &other, &text).expect("a case").is_err());
    }
}
