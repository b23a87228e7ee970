//! TUF as others wrote it (python-tuf, securesystemslib): it reads what our desk made, and our gateway reads what it made.

use std::path::Path;
use std::process::Command;

use serde_json::Value as Json;
use wardgate_lab::process::root;

use super::site::Site;

fn python(verb: &str, words: &[&Path]) -> Result<Json, String> {
    let program = std::env::var_os("WARDGATE_PYTHON").unwrap_or(root().join("tests/.venv/bin/python").into());
    let mut oracle = Command::new(program);
    let done = oracle.arg(root().join("tests/oracle/fleet.py")).arg(verb).args(words).output().expect("python runs: `make test-setup`");
    if done.status.success() {
        Ok(serde_json::from_slice(&done.stdout).expect("JSON"))
    } else {
        Err(String::from_utf8_lossy(&done.stderr).into_owned())
    }
}

//= PROMISES.md#P146
#[test]
fn an_independent_client_reads_what_our_desk_made_through_rotations() {
    // by the real clock, which python-tuf looks at
    let site = Site::bare("oracle-reads");
    let desk = |words: &[&str]| {
        let done = site.run(words, None);
        assert!(done.status.success(), "{words:?}: {}", String::from_utf8_lossy(&done.stderr));
    };
    desk(&["trust", "init", "fleet"]);
    desk(&["trust", "add-vendor", "acme", "--key", "acme.pub", "--fleet", "fleet"]);
    let package = crate::tamper::tiny_into(&site.path("p"), "acme", "1.0.0", 1, 1);
    desk(&["trust", "publish", "p/t-1.0.0.wardgate", "--fleet", "fleet"]);
    desk(&["trust", "rotate", "--role", "root", "--replace", "1", "--fleet", "fleet"]);
    desk(&["trust", "rotate", "--role", "targets", "--fleet", "fleet"]);
    desk(&[
        "trust",
        "revoke",
        "--vendor",
        "acme",
        "--name",
        "x",
        "--even-if-unknown",
        "--release",
        "3",
        "--reason",
        "wrong unit",
        "--fleet",
        "fleet",
    ]);
    let repository = site.path("fleet/repository");
    let found = python("read", &[&repository, &site.path("client")]).unwrap_or_else(|why| panic!("{why}"));
    assert_eq!((found["root"].as_u64(), found["timestamp"].as_u64()), (Some(3), Some(6)));
    assert_eq!(found["delegations"]["acme"], serde_json::json!(["acme/*"]));
    let bytes = std::fs::read(&package).expect("a package");
    assert_eq!(found["package"]["length"], bytes.len());
    assert_eq!(found["revocations"]["releases"][0]["release"], 3);
    // and it does not say yes to everything: a byte of a list, another of the package
    let list = repository.join("metadata/6.snapshot.json");
    let text = std::fs::read_to_string(&list).expect("a snapshot");
    std::fs::write(&list, text.replace("\"version\": 6", "\"version\": 7")).expect("written");
    assert!(python("read", &[&repository, &site.path("client-2")]).is_err());
}

//= PROMISES.md#P147
#[test]
fn our_gateway_reads_what_an_independent_desk_made() {
    let site = Site::bare("oracle-writes");
    let made = python("write", &[&site.path("theirs"), &site.path("acme.pub")]).unwrap_or_else(|why| panic!("{why}"));
    let words = ["trust", "update", "--from", "theirs", "--to", "gw", "--root", "theirs/metadata/1.root.json"];
    let done = site.run(&words, None);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let fleet = site.fleet();
    assert_eq!((fleet["root_version"].as_u64(), fleet["vendors"][0]["vendor"].as_str()), (Some(2), Some("acme")));
    assert_eq!(fleet["vendors"][0]["keys"][0], crate::tamper::key(1).public().id());
    assert_eq!(fleet["revoked_keys"][0]["reason"], made["reason"]);
}
