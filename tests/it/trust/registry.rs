//! Packages to and from a registry that we did not write, over TLS and with a password; each refusal has its own words.

use std::fs;

use wardgate_lab::broker::Ca;
use wardgate_lab::oci::{self, PASSWORD, USER};
use wardgate_lab::process::Process;

use super::site::Site;
use crate::tamper::{signed_into, tiny_into};

fn registry(site: &Site) -> (Process, u16) {
    let started = oci::start(&site.path(""), &Ca::new().issue(&["localhost", "127.0.0.1"])).unwrap_or_else(|why| panic!("{why}"));
    fs::write(site.path("secret"), format!("{PASSWORD}\n")).expect("written");
    fs::write(site.path("wrong"), "not it").expect("written");
    fs::write(site.path("other-ca.pem"), Ca::new().issue(&["localhost"]).ca_pem).expect("written");
    started
}

//= PROMISES.md#P148
#[test]
fn a_package_goes_to_a_registry_and_comes_back_byte_for_byte() {
    let site = Site::bare("registry-round");
    let (_registry, port) = registry(&site);
    let reach = ["--user", USER, "--password-file", "secret", "--ca", "registry-ca.pem"];
    let packages = [tiny_into(&site.path("tiny"), "acme", "1.0.0", 1, 1), signed_into(&site.path("real"), "modbus-map")];
    for (n, path) in packages.iter().enumerate() {
        let (at, file) = (format!("oci://localhost:{port}/acme/n{n}:1.0.0"), path.display().to_string());
        let said = site.well(&[&["plugin", "push", &file, &at], &reach[..]].concat());
        assert!(said.contains("next: wardgate plugin pull oci://localhost"), "{said}");
        fs::create_dir_all(site.path("back")).expect("a folder");
        let said = site.well(&[&["plugin", "pull", &at, "--into", "back"], &reach[..]].concat());
        let name = path.file_name().expect("a name");
        assert!(said.contains("is there: ") && said.contains("next: wardgate plugin verify"), "{said}");
        assert!(fs::read(site.path("back").join(name)).expect("pulled") == fs::read(path).expect("pushed"), "{name:?} came back changed");
        // again, and with another file of that name in the way
        site.well(&[&["plugin", "pull", &at, "--into", "back"], &reach[..]].concat());
        fs::write(site.path("back").join(name), "another").expect("written");
        assert!(site.badly(3, &[&["plugin", "pull", &at, "--into", "back"], &reach[..]].concat()).contains("is there already"));
    }
}

//= PROMISES.md#P149
#[test]
fn each_refusal_of_a_registry_has_its_own_words() {
    let site = Site::bare("registry-errors");
    let (mut process, port) = registry(&site);
    let package = tiny_into(&site.path("tiny"), "acme", "1.0.0", 1, 1).display().to_string();
    let at = format!("oci://localhost:{port}/acme/t:1.0.0");
    let reach = |password: &'static str, ca: &'static str| ["--user", USER, "--password-file", password, "--ca", ca];
    let push = |more: &[&str]| {
        [&["plugin", "push", package.as_str(), at.as_str()], more].concat().iter().map(|w| (*w).to_owned()).collect::<Vec<_>>()
    };
    let pull = |from: &str, more: &[&str]| [&["plugin", "pull", from], more].concat().iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
    let good = reach("secret", "registry-ca.pem");
    site.well_of(&push(&good));
    for words in [
        push(&reach("wrong", "registry-ca.pem")),
        pull(&at, &reach("wrong", "registry-ca.pem")),
        push(&["--ca", "registry-ca.pem"]),
        pull(&at, &["--ca", "registry-ca.pem"]),
    ] {
        let why = site.badly_of(7, &words);
        assert!(why.contains("refuses this name and password") && why.contains("--password-file"), "{why}");
    }
    for words in [push(&reach("secret", "other-ca.pem")), pull(&at, &reach("secret", "other-ca.pem"))] {
        let why = site.badly_of(7, &words);
        assert!(why.contains("shows a certificate that is not trusted") && why.contains("--ca FILE.pem"), "{why}");
    }
    for missing in ["t:2.0.0", "nothing:1.0.0"] {
        let why = site.badly_of(6, &pull(&format!("oci://localhost:{port}/acme/{missing}"), &good));
        assert!(why.contains(&format!("localhost:{port} has no acme/{missing}")), "{why}");
    }
    assert!(site.badly_of(3, &pull("https://localhost/t", &good)).contains("write it as oci://host[:port]/name[:tag]"));
    assert!(site.badly_of(3, &push(&["--user", USER, "--ca", "registry-ca.pem"])).contains("WARDGATE_REGISTRY_PASSWORD"));
    assert!(site.badly_of(3, &pull(&at, &["--ca", "acme.pub"])).contains("is not what it should be"));
    // a registry that gives other bytes under the name is found out
    let blobs = site.path("registry/docker/registry/v2/blobs/sha256");
    let files = fs::read_dir(&blobs)
        .expect("blobs")
        .flat_map(|d| fs::read_dir(d.expect("one").path()).expect("a folder"))
        .map(|b| b.expect("one").path().join("data"));
    let component = files.max_by_key(|file| file.metadata().expect("there").len()).expect("the largest");
    let mut bytes = fs::read(&component).expect("a blob");
    bytes[0] ^= 1;
    fs::write(&component, &bytes).expect("written");
    let why = site.badly_of(6, &pull(&at, &good));
    assert!(why.contains("igest"), "{why}");
    process.stop().expect("it ends");
    assert!(site.badly_of(6, &pull(&at, &good)).contains("does not answer as it should"));
}
