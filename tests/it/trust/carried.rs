//! How metadata travels: over HTTPS with a hospital's own certificates, and as one retained message of a broker. The gateway's own program only
//! becomes `wardgate-trust`, or says that it is missing.

use std::fs;
use std::path::Path;
use std::process::Command;

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{AsyncClient, Event};
use wardgate_lab::broker::{Ca, Identity};
use wardgate_lab::mosquitto;
use wardgate_lab::process::{Process, READY_S_MAX, binary, root};

use super::site::{LONG_AFTER, NOW, Site};
use crate::tamper::tiny_into;
use crate::uplink::receiver::client_options;

/// Python's web server with TLS, over the desk's repository.
fn https(site: &Site) -> (Process, u16) {
    let identity = Ca::new().issue(&["localhost"]);
    for (name, text) in [("web.pem", &identity.certificate_pem), ("web.key", &identity.key_pem), ("web-ca.pem", &identity.ca_pem)] {
        fs::write(site.path(name), text).expect("written");
    }
    let python = std::env::var_os("WARDGATE_PYTHON").unwrap_or(root().join("tests/.venv/bin/python").into());
    let mut command = Command::new(python);
    command.arg(root().join("tests/oracle/mirror.py")).args(["web.pem", "web.key", "fleet/repository"]).current_dir(site.path(""));
    let mut process = Process::start("mirror", &mut command, &site.path("mirror.log")).expect("python runs: `make test-setup`");
    let port = process.wait_for(READY_S_MAX, |line| line.parse().ok()).expect("it says its port");
    (process, port)
}

//= PROMISES.md#P150
#[test]
fn metadata_comes_over_https_from_a_mirror_whose_certificate_is_trusted_and_from_no_other() {
    let site = Site::new("carried-https");
    let (_mirror, port) = https(&site);
    let at = format!("https://localhost:{port}/");
    let root = ["--root", "fleet/repository/metadata/1.root.json"];
    let update = |ca: &'static str| [&["trust", "update", "--from", &at, "--to", "gw", "--ca", ca], &root[..]].concat().join(" ");
    let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    fs::write(site.path("other-ca.pem"), Ca::new().issue(&["localhost"]).ca_pem).expect("written");
    let why = site.badly_of(7, &words(&update("other-ca.pem")));
    assert!(why.contains("shows a certificate that is not trusted"), "{why}");
    assert!(site.well_of(&words(&update("web-ca.pem"))).contains("acme for acme/*"));
    // and packages by their names, from the same place
    let install = format!("plugin install acme/t-7.0.0 --from {at} --ca web-ca.pem --trust gw --config gateway.toml");
    assert!(site.badly_of(4, &words(&install)).contains("they name acme/t-1.0.0.wardgate, other/t-1.0.0.wardgate"));
}

//= PROMISES.md#P151
#[tokio::test(flavor = "multi_thread")]
async fn metadata_comes_as_one_retained_message_of_a_broker() {
    let site = Site::new("carried-mqtt");
    let identity = Identity::new(&["localhost", "127.0.0.1"]);
    let port = mosquitto::prepare(&site.path(""), &identity, &[("demo", "secret")], "").expect("mosquitto");
    let _broker = mosquitto::start(&site.path(""), port).expect("mosquitto");
    let client = |name: &str| {
        let mut options = client_options(name, port, &identity.ca_pem);
        options.set_credentials("demo", "secret");
        AsyncClient::new(options, 10)
    };
    let bundle = fs::read(site.path("fleet/repository/fleet.bundle")).expect("made by every verb of the desk");
    assert!(bundle.len() < 1 << 16, "{} bytes", bundle.len());
    let (desk, mut events) = client("desk");
    desk.publish("fleet/trust", QoS::AtLeastOnce, true, bundle.clone()).await.expect("queued");
    while !matches!(events.poll().await.expect("the broker answers"), Event::Incoming(Packet::PubAck(_))) {}
    // a gateway that comes later
    let (gateway, mut events) = client("gateway");
    gateway.subscribe("fleet/trust", QoS::AtLeastOnce).await.expect("queued");
    let message = loop {
        if let Event::Incoming(Packet::Publish(message)) = events.poll().await.expect("the broker answers") {
            break message.payload;
        }
    };
    fs::write(site.path("came.bundle"), &message).expect("written");
    site.update_from("came.bundle", NOW).expect("it is whole");
    // a byte of it changed on the way is refused
    let text = String::from_utf8(message.to_vec()).expect("text").replace("other/*", "acme2/*");
    fs::write(site.path("changed.bundle"), text).expect("written");
    site.refused("changed.bundle", "does not have the digest that was signed");
}

//= PROMISES.md#P152
#[test]
fn the_gateways_program_becomes_wardgate_trust_or_says_that_it_is_missing() {
    let site = Site::bare("carried-exec");
    let run = |program: &std::path::Path, words: &[&str]| {
        let done = Command::new(program).args(words).env("PATH", "/nowhere").current_dir(site.path("")).output().expect("it runs");
        (done.status.code(), String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr))
    };
    let beside = binary("wardgate").expect("built");
    let (code, said) = run(&beside, &["trust", "init", "--help"]);
    assert!(code == Some(0) && said.contains("Usage: wardgate trust init [OPTIONS] <DIR>"), "{said}");
    assert_eq!(run(&beside, &["trust", "init", "fleet", "--threshold", "1"]).0, Some(0));
    let (code, said) = run(&beside, &["plugin", "push", "none.wardgate", "http://x"]);
    assert!(code == Some(3) && said.contains("is no place in a registry"), "{said}");
    fs::create_dir(site.path("alone")).expect("a folder");
    fs::hard_link(&beside, site.path("alone/wardgate"))
        .or_else(|_| fs::copy(&beside, site.path("alone/wardgate")).map(|_| ()))
        .expect("copied");
    for (verb, name) in [
        (&["trust", "status"][..], "wardgate trust"),
        (&["plugin", "pull", "oci://x/y"], "wardgate plugin pull"),
        (&["plugin", "install", "x"], "wardgate plugin install"),
    ] {
        let (code, said) = run(&site.path("alone/wardgate"), verb);
        assert_eq!(code, Some(3), "{said}");
        assert!(
            said.contains(&format!("{name} is done by the program wardgate-trust")) && said.contains("install wardgate-trust"),
            "{said}"
        );
    }
}

// what would be the gateway's part is a script that writes down how it was called
//= PROMISES.md#P155
#[test]
fn an_install_hands_over_to_the_gateway_only_what_the_fleet_names_and_passes_its_refusal_on() {
    let site = Site::new("carried-accept");
    site.update().expect("the first state");
    fs::create_dir(site.path("bin")).expect("a folder");
    fs::write(site.path("wardgate.sh"), "#!/bin/sh\necho \"$@\" >>said\n[ -f \"$3\" ] || exit 9\nexit \"$(cat code)\"\n").expect("written");
    // by a process of its own: what this one writes is busy as long as a child that another test started just then has not yet become its program
    let put = |from: &Path, name: &str| {
        let done = Command::new("install").args(["-m", "755"]).arg(from).arg(site.path(name)).status();
        assert!(done.expect("of coreutils").success());
    };
    put(&site.path("wardgate.sh"), "bin/wardgate");
    put(&binary("wardgate-trust").expect("built"), "bin/wardgate-trust");
    let install = |code: &str, words: &[&str], now: &str| {
        fs::write(site.path("code"), code).expect("written");
        let _ = fs::remove_file(site.path("said"));
        let mut command = Command::new(site.path("bin/wardgate-trust"));
        command.args(["plugin", "install"]).args(words).args(["--trust", "gw", "--config", "gateway.toml", "--now", now]);
        let done = command.current_dir(site.path("")).output().expect("it runs");
        (done.status.code(), fs::read_to_string(site.path("said")).unwrap_or_default())
    };
    let file = "packages/acme/t-1.0.0.wardgate";
    assert_eq!(install("0", &[file], NOW), (Some(0), format!("plugin accept {file} --config gateway.toml\n")));
    assert_eq!(install("4", &[file], NOW).0, Some(4), "its refusal is ours");
    let (code, said) = install("0", &["acme/t-1.0.0", "--from", "fleet/repository"], NOW);
    assert!(
        code == Some(0) && said.starts_with("plugin accept /") && said.ends_with("/t-1.0.0.wardgate --config gateway.toml\n"),
        "{said}"
    );
    let fetched = std::path::Path::new(said.split(' ').nth(2).expect("a path")).parent().expect("a folder");
    assert!(!fetched.exists(), "{} stays", fetched.display());
    // refused before the gateway is asked, which is told of it for its log
    tiny_into(&site.path("strange"), "acme", "9.9.9", 9, 1);
    let (code, said) = install("0", &["strange/t-9.9.9.wardgate"], NOW);
    let told =
        said.starts_with("plugin install-refused --config gateway.toml --why=strange/t-9.9.9.wardgate is withheld: the fleet's lists");
    assert!(code == Some(4) && told && said.lines().count() == 1, "{said}");
    let (code, said) = install("0", &[file], LONG_AFTER);
    let told =
        said.starts_with("plugin install-refused --config gateway.toml --why=nothing new is installed, the fleet's metadata is stale");
    assert!(code == Some(4) && told && said.lines().count() == 1, "{said}");
    // a site without fleet metadata decides by its own keys
    fs::remove_dir_all(site.path("gw")).expect("there");
    assert_eq!(install("0", &["strange/t-9.9.9.wardgate"], NOW).0, Some(0));
}
