//! Packages that are right: read by others, the same from every folder, with a true bill of materials, and from a vendor's desk to a gateway.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value as Json;
use wardgate::plugin::pack;
use wardgate_lab::process::{binary, root};

use crate::tamper::{key, signed_into, trusting};
use crate::ward::Folder;

fn wardgate(folder: &Path, args: &[&str]) -> Output {
    Command::new(binary("wardgate").expect("built")).args(args).current_dir(folder).output().expect("it runs")
}

fn well(folder: &Path, args: &[&str]) -> String {
    let done = wardgate(folder, args);
    let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{args:?}\n{out}{err}");
    out.into_owned()
}

/// What it says on standard error, which ends with what to do.
fn badly(folder: &Path, args: &[&str]) -> String {
    let done = wardgate(folder, args);
    let err = String::from_utf8_lossy(&done.stderr).into_owned();
    assert_eq!(done.status.code(), Some(4), "{args:?}: {}{err}", String::from_utf8_lossy(&done.stdout));
    assert!(err.contains("what to do: "), "{err}");
    err
}

//= PROMISES.md#P116
#[test]
fn an_independent_reader_finds_in_a_package_what_we_say_is_in_it() {
    let folder = Folder::new("package-oracle");
    let (path, vendors) = (signed_into(&folder.0, "modbus-map"), trusting(&folder.0.join("vendors")));
    let python = root().join("tests/.venv/bin/python");
    let read = |pem: &Path, package: &Path| {
        let mut oracle = Command::new(std::env::var_os("WARDGATE_PYTHON").unwrap_or(python.clone().into()));
        oracle.arg(root().join("tests/oracle/package.py")).arg(pem).arg(package).output().expect("python runs: `make test-setup`")
    };
    let done = read(&vendors.join("wardgate.pub"), &path);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let found: Json = serde_json::from_slice(&done.stdout).expect("JSON");
    let sealed = wardgate::plugin::sealed(&path).expect("a package");
    assert_eq!(found["predicate"], serde_json::to_value(&sealed.claim).expect("plain texts"));
    let ours: BTreeMap<_, _> = sealed.files().iter().map(|file| (file.path.clone(), format!("sha256:{}", file.digest))).collect();
    assert_eq!(found["subjects"], serde_json::to_value(ours).expect("plain texts"));
    // and it does not say yes to everything
    let other = folder.0.join("other.pub");
    fs::write(&other, key(2).public().pem()).expect("written");
    assert!(!read(&other, &path).status.success());
}

//= PROMISES.md#P117
#[test]
fn the_same_source_in_two_folders_gives_the_same_bytes() {
    let folder = Folder::new("package-twice");
    let packed = ["a", "b/deeper"].map(|inside| {
        let at = folder.0.join(inside);
        fs::create_dir_all(&at).expect("a folder");
        well(&at, &["plugin", "new", "pump", "--link", "serial"]);
        // what is the same for all plugins is compiled once; the plugin, the SDK and the contract lie in each folder
        let mut pack = Command::new(binary("wardgate").expect("built"));
        pack.args(["plugin", "pack", "pump"])
            .current_dir(&at)
            .env("CARGO_TARGET_DIR", root().join("target/twice"))
            .env_remove("RUSTUP_TOOLCHAIN")
            .env_remove("CARGO"); // as at a terminal: rustup's cargo tells rustc which one it is, on a machine without a default too
        let done = pack.output().expect("it runs");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        fs::read(root().join("target/twice/packages/pump-0.1.0.wardgate")).expect("a package")
    });
    assert!(packed[0] == packed[1], "the two packages differ");
    for place in [folder.0.as_path(), root()] {
        let path = place.display().to_string();
        assert!(!packed[0].windows(path.len()).any(|bytes| bytes == path.as_bytes()), "the package names {path}");
    }
}

/// Name and version of all that the lock file holds of these, with their digests.
fn locked() -> BTreeMap<(String, String), Option<String>> {
    let text = fs::read_to_string(root().join("plugins/Cargo.lock")).expect("a lock file");
    let field = |block: &str, key: &str| {
        let line = block.lines().find_map(|line| line.strip_prefix(&format!("{key} = \"")))?;
        Some(line.trim_end_matches('"').to_owned())
    };
    let blocks = text.split("[[package]]").skip(1);
    blocks.map(|b| ((field(b, "name").expect("a name"), field(b, "version").expect("a version")), field(b, "checksum"))).collect()
}

//= PROMISES.md#P118
#[test]
fn the_bill_of_materials_is_what_cargo_says_with_the_digests_of_the_lock_file() {
    let sealed = pack(&root().join("plugins/ivy450c"), None).unwrap_or_else(|why| panic!("{why}")).sealed;
    let bill: Json = serde_json::from_slice(&sealed.file("sbom.cdx.json").expect("a bill").bytes).expect("JSON");
    assert_eq!((&bill["bomFormat"], &bill["specVersion"]), (&"CycloneDX".into(), &"1.6".into()));
    let text = |value: &Json| value.as_str().expect("a text").to_owned();
    let of = |c: &Json| (text(&c["name"]), text(&c["version"]));
    let components = bill["components"].as_array().expect("a list");
    let mut named: BTreeSet<_> = components.iter().map(of).collect();
    assert_eq!(named.len(), components.len(), "none is there twice");
    named.insert(of(&bill["metadata"]["component"]));
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["tree", "--offline", "--locked", "--edges", "normal,build", "--target", "wasm32-unknown-unknown", "--prefix", "none"]);
    cargo.args(["--package", "wardgate-plugin-ivy450c", "--format", "{p}"]).current_dir(root().join("plugins"));
    let said = String::from_utf8(cargo.output().expect("cargo runs").stdout).expect("text");
    let tree: BTreeSet<_> =
        said.lines().filter_map(|l| l.split_once(" v")).map(|(n, v)| (n.to_owned(), v.split(' ').next().unwrap_or(v).to_owned())).collect();
    assert_eq!(named, tree);
    let locked = locked();
    for component in components {
        let digest = component["hashes"][0]["content"].as_str();
        assert_eq!(digest, locked[&of(component)].as_deref(), "{component}");
    }
    assert!(components.iter().filter(|c| c["hashes"].is_array()).count() >= 30);
}

/// Each step says what comes next, and each slip what to do.
//= PROMISES.md#P119
#[test]
fn from_a_vendors_desk_to_a_hospitals_gateway_each_step_says_what_comes_next() {
    let folder = Folder::new("package-verbs");
    let at = folder.0.as_path();
    let path = signed_into(&at.join("stick"), "modbus-map");
    let file = path.display().to_string();
    let sealed = wardgate::plugin::sealed(&path).expect("a package");

    // keys, once, for their owner's eyes
    let said = well(at, &["plugin", "keygen", "wardgate"]);
    assert!(said.contains("ed25519:") && said.contains("plugin sign --key"), "{said}");
    assert!(badly(at, &["plugin", "keygen", "wardgate"]).contains("is there already"));
    assert!(badly(at, &["plugin", "keygen", "Acme Inc"]).contains("no name for a vendor"));
    assert!(badly(at, &["plugin", "sign", "--key", "nokey", &file]).contains("wardgate plugin keygen"));
    assert!(badly(at, &["plugin", "sign", "--key", "wardgate.key", "no.wardgate"]).contains("is not there"));

    // not signed, then signed
    let unsigned = wardgate::plugin::Sealed::new(sealed.files().to_vec(), sealed.claim.clone()).expect("a package");
    wardgate::plugin::write_sealed(&path, &unsigned).expect("written");
    assert!(badly(at, &["plugin", "verify", &file]).contains("plugin sign --key"));
    let said = well(at, &["plugin", "inspect", &file]);
    assert!(said.contains("signed by  NOBODY") && said.contains("would NOT run: it is not signed"), "{said}");
    well(at, &["plugin", "sign", "--key", "wardgate.key", &file]);
    let once = fs::read(&path).expect("signed");
    well(at, &["plugin", "sign", "--key", "wardgate.key", &file]);
    assert_eq!(fs::read(&path).expect("signed"), once, "signing twice changes nothing");
    let said = well(at, &["plugin", "verify", &file]);
    assert!(said.contains("is whole") && said.contains("NOT TRUSTED HERE"), "{said}");

    // a hospital that does not know the vendor, and then does
    fs::create_dir(at.join("vendors")).expect("a folder");
    let said = badly(at, &["plugin", "verify", "--trust", "vendors", &file]);
    assert!(said.contains("signed in the name of wardgate") && said.contains("this site trusts nobody"), "{said}");
    let said = well(at, &["plugin", "inspect", "--trust", "vendors", &file]);
    assert!(said.contains("would NOT run: it is signed in the name of wardgate"), "{said}");
    fs::copy(at.join("wardgate.pub"), at.join("vendors/wardgate.pub")).expect("copied");
    assert!(well(at, &["plugin", "verify", "--trust", "vendors", &file]).contains("trusted: vendors"));
    let said = well(at, &["plugin", "inspect", "--trust", "vendors", &file]);
    for line in [
        "asks for   modbus: ",
        "imports    wardgate:device/",
        "limits     ",
        "made of    34 crates",
        "here       would run on this gateway",
    ] {
        assert!(said.contains(line), "{line} is missing:\n{said}");
    }
    assert!(said.lines().count() <= 24, "one screen");
    assert!(well(at, &["plugin", "test", &file]).contains("6 golden cases of the package say the same here"));
    let map = "map=t holding 0 s16 scale 0.1 unit Cel";
    let said = well(at, &["plugin", "decode", &file, "--setting", map, "--reply", "00E8"]);
    assert!(said.contains("\"mantissa\":232"), "{said}");
    let shipped = "map={ shipped = \"smc-hrs\" }";
    let said = well(at, &["plugin", "decode", &file, "--setting", shipped, "--reply", "00E8,00FA,0000,0000,0000,0000,0000,0000,0000"]);
    assert!(said.contains("\"channel\":\"temperature\",\"exponent\":-1,\"mantissa\":232"), "{said}");

    // on the gateway: the refusal's own line makes it run
    let ca = wardgate_lab::broker::Ca::new().issue(&["broker"]).ca_pem;
    fs::write(at.join("ca.pem"), ca).expect("written");
    fs::write(at.join("mac.key"), "0123456789abcdef0123456789abcdef").expect("written");
    let site = format!(
        "[gateway]\nid = \"ward\"\nstate = \"state\"\n[uplink]\nhost = \"broker\"\nca_file = \"ca.pem\"\nmac_key_file = \"mac.key\"\n\
         [bus.plant]\ntcp = \"192.0.2.20:502\"\n[instance.chiller]\npackage = \"{file}\"\nsettings = {{ map = {{ shipped = \"smc-hrs\" }} }}\n\
         [instance.chiller.grants.modbus]\nbus = \"plant\"\nservers = [1]\nallow = [{{ function = 3, addresses = [\"0..11\"] }}]\n"
    );
    fs::write(at.join("gateway.toml"), &site).expect("written");
    let said = badly(at, &["check", "--config", "gateway.toml"]);
    assert!(said.contains("signed in the name of wardgate, by the key ed25519:") && said.contains("names no vendors"), "{said}");
    let line = said.split("below [trust] add ").nth(1).expect("a line to add").lines().next().expect("one");
    let trusted = format!("{site}[trust]\n{}\n", line.replace("/etc/wardgate/vendors", "vendors"));
    fs::write(at.join("gateway.toml"), &trusted).expect("written");
    let said = well(at, &["check", "--config", "gateway.toml"]);
    assert!(said.contains("signed by wardgate, release 1, with the key ed25519:"), "{said}");
    assert!(well(at, &["plugin", "inspect", "--config", "gateway.toml", &file]).contains("would run on this gateway"));
    // a folder stays what it was: for those who say so
    let folder = site.replace(&file, &root().join("plugins/target/packages/modbus-map-0.1.0").display().to_string());
    fs::write(at.join("gateway.toml"), &folder).expect("written");
    assert!(badly(at, &["check", "--config", "gateway.toml"]).contains("allow_unsigned = true"));
}
