//! A package that anybody changed, made up or cut is refused, each way with an error of its own; and one that a vendor signed runs.

use std::fs;
use std::path::{Path, PathBuf};

use std::sync::OnceLock;

use serde_json::{Value as Json, json};
use wardgate::config::Manifest;
use wardgate::plugin::{Admission, Claim, Distrust, Flaw, Member, Mismatch, Package, PluginError, Sealed, SecretKey, Surface, pack};
use wardgate_lab::layout::{Layout, Members, blob, header};
use wardgate_lab::process::root;
use wardgate_lab::tiny;

use crate::ward::Folder;

/// All of the checkout's plugins.
const REAL: [&str; 14] = [
    "ble-activity",
    "ble-blood-pressure",
    "ble-cgm",
    "ble-chest-ecg",
    "ble-glucose",
    "ble-heart-rate",
    "ble-motion-belt",
    "ble-oximeter",
    "ble-stethoscope",
    "ble-thermometer",
    "ble-weight",
    "condition-watch",
    "ivy450c",
    "modbus-map",
];
const TINY_BYTES_MAX: usize = 17 << 10;

pub fn key(n: u8) -> SecretKey {
    SecretKey::of_seed(&[n; 32])
}

/// A plugin of the checkout, packed once and signed with key 1.
fn real(plugin: &str) -> &'static Sealed {
    static PACKED: [OnceLock<Sealed>; REAL.len()] = [const { OnceLock::new() }; REAL.len()];
    let which = REAL.iter().position(|name| *name == plugin).expect("one of them");
    PACKED[which].get_or_init(|| {
        let mut sealed = pack(&root().join("plugins").join(plugin), None).unwrap_or_else(|why| panic!("{why}")).sealed;
        sealed.sign(&key(1)).expect("room for a signature");
        sealed
    })
}

/// Its file in a folder, as a hospital gets it.
pub fn signed_into(folder: &Path, plugin: &str) -> PathBuf {
    fs::create_dir_all(folder).expect("a folder");
    let path = folder.join(format!("{}.wardgate", real(plugin).claim.full_name()));
    fs::write(&path, real(plugin).write()).expect("written");
    path
}

/// A folder of trusted vendors with the key that signed the packages above.
pub fn trusting(folder: &Path) -> PathBuf {
    fs::create_dir_all(folder).expect("a folder");
    fs::write(folder.join("wardgate.pub"), key(1).public().pem()).expect("written");
    folder.to_owned()
}

const TINY_MANIFEST: &str = "name = \"t\"\nversion = \"1.0.0\"\nvendor = \"v\"\nrelease = 1\nlinks = []\n[channels]\n";

fn tiny_package(world: &str, manifest: &str) -> Sealed {
    tiny_of(&root().join("wit"), world, manifest)
}

fn tiny_of(wit: &Path, world: &str, manifest: &str) -> Sealed {
    let component = tiny::component(wit, world);
    let read = Manifest::parse(manifest).expect("a manifest");
    let claim = Claim::of(&read, &Surface::read(&component).expect("a component")).expect("vendor and release");
    let files =
        [("plugin.wasm", component), ("manifest.toml", manifest.into()), ("sbom.cdx.json", b"{}".into()), ("README.md", b"t".into())];
    let mut sealed = Sealed::new(files.map(|(path, bytes)| Member::new(path, bytes)).into(), claim).expect("a package");
    sealed.sign(&key(1)).expect("room for a signature");
    sealed
}

/// A package of a few kilobytes that opens, of this vendor and release, signed with key `n`, as a file.
pub fn tiny_into(folder: &Path, vendor: &str, version: &str, release: u64, n: u8) -> PathBuf {
    tiny_named(folder, "t", vendor, version, release, n)
}

pub fn tiny_named(folder: &Path, name: &str, vendor: &str, version: &str, release: u64, n: u8) -> PathBuf {
    let manifest =
        format!("name = \"{name}\"\nversion = \"{version}\"\nvendor = \"{vendor}\"\nrelease = {release}\nlinks = []\n[channels]\n");
    let unsigned = tiny_package("export wardgate:device/lifecycle@0.1.0;", &manifest);
    let mut sealed = Sealed::new(unsigned.files().to_vec(), unsigned.claim).expect("a package");
    sealed.sign(&key(n)).expect("room for a signature");
    fs::create_dir_all(folder).expect("a folder");
    let path = folder.join(format!("{name}-{version}.wardgate"));
    fs::write(&path, sealed.write()).expect("written");
    path
}

fn tiny_one() -> Sealed {
    tiny_package("export wardgate:device/lifecycle@0.1.0;", TINY_MANIFEST)
}

fn flaw(bytes: &[u8]) -> Flaw {
    Sealed::read(bytes).expect_err("it was taken")
}

// ---------- the table

//= PROMISES.md#P110
#[test]
fn whatever_was_done_to_a_package_has_an_error_of_its_own() {
    let sealed = real("ivy450c");
    let good = sealed.write();
    assert_eq!(Sealed::read(&good).as_ref(), Ok(sealed));
    let layout = Layout::of(&good);
    assert_eq!(layout.tar(), good, "the test's own tar is the same");
    let last = layout.0.len() - 1;
    let name = |n: usize| layout.0[n].0.clone();
    let changed = |change: &dyn Fn(&mut Members)| {
        let mut other = layout.clone();
        change(&mut other.0);
        flaw(&other.tar())
    };
    // members
    let extra = blob(b"more");
    assert_eq!(changed(&|m| m.push(extra.clone())), Flaw::Extra { name: extra.0.clone() });
    assert_eq!(changed(&|m| m.push(("../../etc/passwd".into(), vec![]))), Flaw::Extra { name: "../../etc/passwd".into() });
    assert_eq!(changed(&|m| drop(m.remove(4))), Flaw::Missing { name: "plugin.wasm".into() });
    assert_eq!(changed(&|m| drop(m.remove(last))), Flaw::Missing { name: "statement.dsse.json".into() });
    assert_eq!(changed(&|m| drop(m.remove(0))), Flaw::Missing { name: "oci-layout".into() });
    assert_eq!(changed(&|m| m.push(m[5].clone())), Flaw::Doubled { name: name(5) });
    assert_eq!(changed(&|m| m.swap(5, 6)), Flaw::Reordered { name: name(6), expected: name(5) });
    assert_eq!(changed(&|m| m[5].1.push(b' ')), Flaw::Digest { name: name(5) });
    // the tar itself
    let link = [&header("blobs/sha256/x", 0, b'2')[..], &good].concat();
    assert!(matches!(flaw(&link), Flaw::NoFile { name, .. } if name == "blobs/sha256/x"));
    assert_eq!(flaw(&[&good[..], b"x"].concat()), Flaw::Trailing { bytes: 1 });
    assert_eq!(flaw(&[&good[..], &good].concat()), Flaw::Trailing { bytes: good.len() });
    assert!(matches!(flaw(&vec![0; (16 << 20) + 1]), Flaw::TooLarge { .. }));
    assert_eq!(flaw(&vec![0; 1 << 20]), Flaw::Trailing { bytes: (1 << 20) - 1024 });
    let many = Layout((0..300).map(|n: i32| blob(&n.to_be_bytes())).collect());
    assert!(matches!(flaw(&many.tar()), Flaw::TooMany { .. }));
    // documents
    let image = layout.manifest();
    let edited = |edit: &dyn Fn(&mut Json)| {
        let mut manifest = image.clone();
        edit(&mut manifest);
        flaw(&layout.with(&manifest).tar())
    };
    let media =
        |name: &str, found: &str, expected: &str| Flaw::MediaType { name: name.into(), found: found.into(), expected: expected.into() };
    let config = "application/vnd.oci.image.config.v1+json";
    assert_eq!(
        edited(&|m| m["config"]["mediaType"] = json!(config)),
        media("the image's config", config, "application/vnd.wasm.config.v0+json")
    );
    assert_eq!(
        edited(&|m| m["layers"][0]["mediaType"] = json!("application/octet-stream")),
        media("plugin.wasm", "application/octet-stream", "application/wasm")
    );
    assert!(matches!(edited(&|m| m["more"] = json!(1)), Flaw::Document { .. }));
    assert!(matches!(edited(&|m| m["layers"][0]["size"] = json!(1)), Flaw::NotCanonical { .. }));
    assert!(matches!(edited(&|m| m["annotations"]["x"] = json!("y")), Flaw::NotCanonical { .. }));
    // what is inside, by somebody without a key
    for title in ["plugin.wasm", "manifest.toml", "sbom.cdx.json", "README.md", "golden/stream.json"] {
        assert_eq!(flaw(&layout.swapped(title, b"other").tar()), Flaw::Subject { name: title.into() });
    }
    let other = &real("modbus-map").file("plugin.wasm").expect("a component").bytes;
    assert_eq!(flaw(&layout.swapped("plugin.wasm", other).tar()), Flaw::Subject { name: "plugin.wasm".into() }, "of the same vendor");
    let envelope = |edit: &dyn Fn(&mut Json)| {
        let mut read: Json = serde_json::from_slice(&layout.0[last].1).expect("the envelope");
        edit(&mut read);
        flaw(&layout.swapped("statement.dsse.json", read.to_string().as_bytes()).tar())
    };
    let wrong = |n: u8| Flaw::Signature(key(n).public());
    assert_eq!(envelope(&|e| e["signatures"][0]["keyid"] = json!(key(2).public().id())), wrong(2));
    let theirs: Json = serde_json::from_slice(&Layout::of(&real("modbus-map").write()).0.last().expect("an envelope").1).expect("JSON");
    assert_eq!(envelope(&|e| e["signatures"] = theirs["signatures"].clone()), wrong(1), "another package's signature");
    assert!(matches!(envelope(&|e| *e = theirs.clone()), Flaw::Subject { .. }), "another package's statement");
    assert!(matches!(envelope(&|e| e["signatures"][0]["sig"] = json!("")), Flaw::Signature(_)));
    assert!(matches!(envelope(&|e| e["payloadType"] = json!("text/plain")), Flaw::MediaType { .. }));
    assert!(matches!(envelope(&|e| e["payload"] = json!("")), Flaw::Signature(_)));
}

/// Whoever holds a key may sign anything; what a package holds must agree with itself all the same.
//= PROMISES.md#P111
#[test]
fn what_is_signed_must_agree_with_itself_and_with_the_gateway() {
    let folder = Folder::new("tamper-agree");
    let opened = |sealed: &Sealed, name: &str| {
        let path = folder.0.join(format!("{name}.wardgate"));
        fs::create_dir_all(&folder.0).expect("a folder");
        fs::write(&path, sealed.write()).expect("written");
        Package::admit(&path, &Admission::Desk)
    };
    let lifecycle = "export wardgate:device/lifecycle@0.1.0;";
    opened(&tiny_one(), "t-1.0.0").expect("nothing is wrong with it");
    assert!(matches!(opened(&tiny_one(), "t-1.0.1"), Err(PluginError::Misnamed { .. })));
    // imports beyond the manifest, and a manifest beyond the component
    let beyond = tiny_package(&format!("import wardgate:device/serial@0.1.0; {lifecycle}"), TINY_MANIFEST);
    let why = opened(&beyond, "t-1.0.0").expect_err("it reaches further than it says");
    assert!(matches!(&why, PluginError::Refused { why: Mismatch::NotInManifest(_), .. }), "{why}");
    let deaf = tiny_package(lifecycle, &TINY_MANIFEST.replace("links = []", "links = [\"serial\"]"));
    assert!(matches!(opened(&deaf, "t-1.0.0"), Err(PluginError::Refused { why: Mismatch::NoEvents(_), .. })));
    // a statement that says something else than manifest and component, which is signed all the same
    let (mut claim, files) = (tiny_one().claim, tiny_one().files().to_vec());
    claim.release = 7;
    let mut lies = Sealed::new(files, claim).expect("a package");
    lies.sign(&key(1)).expect("room");
    let why = opened(&lies, "t-1.0.0").expect_err("its release is 1").to_string();
    assert!(why.contains("says release = \"7\", and what is in the package says \"1\""), "{why}");
    // made for a gateway that is still to come
    let later = tiny_package(lifecycle, &TINY_MANIFEST.replace("links = []", "links = []\ngateway = \"99.0.0\""));
    let why = opened(&later, "t-1.0.0").expect_err("this gateway is too old").to_string();
    assert!(why.contains("needs a gateway of version 99.0.0 or newer, this one is"), "{why}");
    // a contract that is still to come, as another text of it
    let next = folder.0.join("wit");
    fs::create_dir_all(&next).expect("a folder");
    for entry in fs::read_dir(root().join("wit")).expect("the contract") {
        let path = entry.expect("readable").path();
        if path.is_file() {
            let text = fs::read_to_string(&path).expect("text").replace("device@0.1.0", "device@0.2.0");
            fs::write(next.join(path.file_name().expect("a file")), text).expect("written");
        }
    }
    let of_next = |gateway: &str| tiny_of(&next, "export wardgate:device/lifecycle@0.2.0;", &TINY_MANIFEST.replace("links = []", gateway));
    let why = opened(&of_next("links = []\ngateway = \"99.0.0\""), "t-1.0.0").expect_err("nobody speaks it yet").to_string();
    assert!(why.contains("version 99.0.0 or newer") && why.contains("imports wardgate:device/types@0.2.0"), "{why}");
    let why = opened(&of_next("links = []"), "t-1.0.0").expect_err("nor so").to_string();
    assert!(why.contains("imports wardgate:device/types@0.2.0 of a version that this gateway does not speak"), "{why}");
    // files that nothing names
    let mut files = tiny_one().files().to_vec();
    files.push(Member::new("maps/x.map", b"x".to_vec()));
    let mut more = Sealed::new(files, tiny_one().claim).expect("a package");
    more.sign(&key(1)).expect("room");
    assert!(matches!(opened(&more, "t-1.0.0"), Err(PluginError::Flawed { why: Flaw::Extra { name }, .. }) if name == "maps/x.map"));
}

//= PROMISES.md#P112
#[test]
fn only_a_key_that_the_site_trusts_for_that_vendor_opens_the_door() {
    let folder = Folder::new("tamper-trust");
    let path = signed_into(&folder.0, "ivy450c");
    let vendors = folder.0.join("vendors");
    fs::create_dir_all(&vendors).expect("a folder");
    let site = |vendors: Option<&PathBuf>| Admission::Site { allow_unsigned: true, vendors: vendors.cloned() };
    let distrust = |admission: &Admission, path: &Path| match Package::admit(path, admission) {
        Err(PluginError::Untrusted { why, .. }) => *why,
        other => panic!("{other:?}"),
    };
    assert_eq!(distrust(&site(None), &path), Distrust::NoFolder);
    assert_eq!(distrust(&site(Some(&vendors)), &path), Distrust::Unknown { folder: vendors.clone(), trusted: "nobody".into() });
    fs::write(vendors.join("wardgate.pub"), key(2).public().pem()).expect("written");
    assert_eq!(
        distrust(&site(Some(&vendors)), &path),
        Distrust::Unknown { folder: vendors.clone(), trusted: "wardgate".into() },
        "wrong key"
    );
    fs::write(vendors.join("other.pub"), key(1).public().pem()).expect("written");
    let of_another = Distrust::OfAnother { folder: vendors.clone(), owner: "other".into() };
    assert_eq!(distrust(&site(Some(&vendors)), &path), of_another, "a valid signature of another vendor");
    fs::write(vendors.join("wardgate.2027.pub"), key(1).public().pem()).expect("written");
    let package = Package::admit(&path, &site(Some(&vendors))).expect("now it is theirs");
    assert_eq!(package.signed.expect("signed").key, key(1).public());

    // a second signature, of a key that is to follow: each of the two will do
    let mut both = real("ivy450c").clone();
    both.sign(&key(2)).expect("room for two");
    let third = both.sign(&key(3)).expect_err("there is room for two");
    assert_eq!(third, Flaw::Signatures { most: 2 });
    assert!(third.to_string().contains("has 2 signatures already") && third.remedy().contains("plugin sign --alone"), "{third}");
    assert_eq!(Sealed::read(&both.write()), Ok(both.clone()));
    fs::remove_file(vendors.join("wardgate.2027.pub")).expect("removed");
    fs::write(&path, both.write()).expect("written");
    assert_eq!(Package::admit(&path, &site(Some(&vendors))).expect("by the other key").signed.expect("signed").key, key(2).public());

    // whoever has any key may write any name: it does not reach a terminal as it is
    let mut strange =
        Sealed::new(both.files().to_vec(), Claim { vendor: "\u{1b}[2Jwardgate".into(), ..both.claim.clone() }).expect("a package");
    strange.sign(&key(1)).expect("room");
    fs::write(&path, strange.write()).expect("written");
    let why = Package::admit(&path, &site(Some(&vendors))).expect_err("nobody is called so");
    let words = format!("{why} {}", why.remedy("x"));
    assert!(words.contains("\\u{1b}[2Jwardgate") && !words.contains('\u{1b}'), "{words}");

    let unsigned = Sealed::new(both.files().to_vec(), both.claim.clone()).expect("a package");
    fs::write(&path, unsigned.write()).expect("written");
    let why = Package::admit(&path, &site(Some(&vendors))).expect_err("nobody signed it");
    assert!(matches!(why, PluginError::Flawed { why: Flaw::Unsigned, .. }), "{why}");
}

//= PROMISES.md#P113
#[test]
fn each_bit_of_a_small_package_counts() {
    let good = tiny_one().write();
    assert!(good.len() <= TINY_BYTES_MAX, "{} bytes", good.len());
    std::thread::scope(|s| {
        for part in 0..2 {
            let mut bytes = good.clone();
            s.spawn(move || {
                for bit in part * 4 * bytes.len()..(part + 1) * 4 * bytes.len() {
                    bytes[bit / 8] ^= 1 << (bit % 8);
                    assert!(Sealed::read(&bytes).is_err(), "bit {bit} was flipped, and it was taken");
                    bytes[bit / 8] ^= 1 << (bit % 8);
                }
            });
        }
    });
    for n in 0..good.len() {
        assert!(Sealed::read(&good[..n]).is_err(), "cut at {n}");
    }
}

#[test]
fn seeded_flips_and_cuts_of_the_real_packages_are_refused() {
    let folders = fs::read_dir(root().join("plugins")).expect("the checkout").map(|e| e.expect("an entry").path());
    let plugins = folders.filter(|folder| folder.join("manifest.toml").exists());
    let mut there: Vec<_> = plugins.map(|folder| folder.file_name().expect("a name").to_string_lossy().into_owned()).collect();
    there.sort();
    assert_eq!(there, REAL, "all that there are");
    for plugin in REAL {
        let mut bytes = real(plugin).write();
        let mut x = 0x2545_f491_4f6c_dd1d_u64; // xorshift
        for _ in 0..2000 {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            let bit = (x % (8 * bytes.len() as u64)) as usize;
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(Sealed::read(&bytes).is_err(), "{plugin}: bit {bit} was flipped, and it was taken");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        for n in (0..bytes.len()).step_by(509) {
            assert!(matches!(Sealed::read(&bytes[..n]), Err(Flaw::Truncated { .. })), "{plugin}: cut at {n}");
        }
        assert!(Sealed::read(&bytes).is_ok());
    }
}

/// What anybody can write who knows the format and has no key: never taken, unless it is what was there or nobody's.
#[test]
fn documents_changed_anywhere_in_a_layout_that_is_right_are_refused() {
    let good = tiny_one().write();
    let layout = Layout::of(&good);
    let envelope = layout.0.last().expect("members").1.clone();
    let manifest = layout.0[2].1.clone();
    let mut x = 0x9e37_79b9_7f4a_7c15_u64; // xorshift
    for round in 0..4000 {
        let mut bytes = if round % 2 == 0 { manifest.clone() } else { envelope.clone() };
        for _ in 0..1 + round % 3 {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            let at = x as usize % bytes.len();
            bytes[at] = (x >> 40) as u8;
        }
        let other = if round % 2 == 0 { layout.with_bytes(&bytes) } else { layout.swapped("statement.dsse.json", &bytes) };
        let tar = other.tar();
        assert!(tar == good || Sealed::read(&tar).is_err(), "round {round}: {}", String::from_utf8_lossy(&bytes));
    }
}
