//! The vendor's guide, docs/vendors-guide.md, command by command: from a new plugin to a hospital's gateway.

use std::fs;

use wardgate_lab::process::root;

use crate::author::{Act, Outside, acts};

//= PROMISES.md#P167
#[test]
fn each_command_of_the_vendors_guide_works() {
    let guide = fs::read_to_string(root().join("docs/vendors-guide.md")).expect("the guide");
    let acts = acts(&guide);
    assert!(acts.len() >= 7, "the guide has commands and a file");
    let outside = Outside::new("vendors-guide");
    fs::write(outside.0.join("ca.pem"), wardgate_lab::broker::Ca::new().issue(&["broker"]).ca_pem).expect("written");
    fs::write(outside.0.join("mac.key"), "0123456789abcdef0123456789abcdef").expect("written");
    let packages = root().join("plugins/target/packages");
    let mut said = String::new();
    for act in acts {
        match act {
            Act::Write(path, text) => fs::write(outside.0.join(path), text).expect("written"),
            Act::Run(script) => said += &outside.well(&format!("PACKAGES={}\n{script}", packages.display())),
        }
    }
    for promised in [
        "NOT TRUSTED HERE",
        "here       would run on this gateway",
        "packages/pump-0.1.0.wardgate: pump-0.1.0, release 1, of my-company",
        "signed by my-company, release 1, with the key ed25519:",
        "the audit log state is whole: records 1 to 1",
        "no instance ran it yet",
        "packages/pump-0.2.0.wardgate: pump-0.2.0, release 2, of my-company",
        "packages/pump-0.2.0.wardgate: wit-bindgen ",
    ] {
        assert!(said.contains(promised), "{promised}:\n{said}");
    }
    assert!(!said.contains("`run` refuses it"), "{said}");
}
