//! Package files. Digests are made right, for a fuzzer would never guess one; a first byte says what is left as it came.

use std::path::Path;
use std::sync::OnceLock;

use wardgate::config::Manifest;
use wardgate::plugin::{Admission, Claim, Member, Package, Sealed, SecretKey, Surface};

use crate::layout::{Layout, blob};

/// The contract's smallest package, from the tests: signed in the frozen days, so that it is a whole one.
const WHOLE: &[u8] = include_bytes!("../../frozen/0.1.0/frozen-0.1.0.wardgate");

fn whole() -> &'static Layout {
    static LAYOUT: OnceLock<Layout> = OnceLock::new();
    LAYOUT.get_or_init(|| Layout::of(WHOLE))
}

/// A whole file; the image's manifest, the envelope or a blob that nothing names, in a layout that is right but for it.
fn file(how: u8, rest: &[u8]) -> Vec<u8> {
    match how % 4 {
        0 => rest.to_vec(),
        1 => whole().with_bytes(rest).tar(),
        2 => whole().swapped("statement.dsse.json", rest).tar(),
        _ => {
            let mut other = whole().clone();
            other.0.push(blob(rest));
            other.tar()
        }
    }
}

/// What is read is exactly what would be written; nothing that somebody without the key made is read.
pub fn package(data: &[u8]) {
    let Some((how, rest)) = data.split_first() else { return };
    // what a vendor signed may still hold anything: manifest and component of a right package
    if how % 5 == 4 {
        return inside(rest);
    }
    let bytes = file(*how, rest);
    if let Ok(sealed) = Sealed::read(&bytes) {
        assert_eq!(sealed.write(), bytes, "one package, one form");
        _ = Package::unpack(Path::new("frozen-0.1.0.wardgate"), &sealed, &[]);
        assert!(how % 4 == 0 || bytes == WHOLE || sealed.signers().next().is_none(), "forged");
    }
}

/// A manifest of somebody who has a key, around a component that is right.
fn inside(text: &[u8]) {
    static COMPONENT: OnceLock<Member> = OnceLock::new();
    let component = COMPONENT.get_or_init(|| Sealed::read(WHOLE).expect("a package").file("plugin.wasm").expect("a component").clone());
    let Ok(manifest) = Manifest::parse(&String::from_utf8_lossy(text)) else { return };
    let surface = Surface::read(&component.bytes).expect("a component");
    let Some(claim) = Claim::of(&manifest, &surface) else { return };
    let mut files = vec![component.clone(), Member::new("manifest.toml", text.to_vec())];
    files.extend([Member::new("sbom.cdx.json", b"{}".into()), Member::new("README.md", text.to_vec())]);
    let Ok(mut sealed) = Sealed::new(files, claim) else { return };
    sealed.sign(&SecretKey::of_seed(&[1; 32])).expect("room for one");
    assert_eq!(Sealed::read(&sealed.write()).as_ref(), Ok(&sealed), "what was written is read");
    _ = Package::unpack(Path::new("x.wardgate"), &sealed, &[]);
    _ = Admission::Desk.signers(Path::new("x"), &sealed);
}

pub fn package_seeds() -> Vec<Vec<u8>> {
    let sealed = Sealed::read(WHOLE).expect("a package");
    let envelope = &whole().0.last().expect("members").1;
    let manifest = &sealed.file("manifest.toml").expect("a manifest").bytes;
    // the whole file is longer than what a fuzzer is given: its first members, and its last
    let head = &WHOLE[..8 << 10];
    [(0, head), (1, &whole().0[2].1), (2, envelope), (3, b"more"), (4, manifest)].map(|(how, bytes)| [&[how][..], bytes].concat()).to_vec()
}
