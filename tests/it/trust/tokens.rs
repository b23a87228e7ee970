//! Keys that never leave a token, over PKCS#11: Debian's SoftHSM, and a TPM in software (swtpm, tpm2-abrmd, tpm2-pkcs11), none of which anybody here
//! wrote. And libraries of tokens that hang or crash.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use wardgate_lab::process::{Process, READY_S_MAX, binary, root};
use wardgate_lab::stage::{CHILLER, Stage};

use super::site::{NOW, Site};
use crate::faults::wait_status;
use crate::gatekeeper::{another, said, same, ward};
use crate::tamper::tiny_into;
use crate::ward::Folder;

const LIBRARY: &str = "/usr/lib/softhsm/libsofthsm2.so";
const PIN: &str = "4711";

/// A token in a folder, which no other test sees.
struct Token {
    at: PathBuf,
    /// Its library.
    module: PathBuf,
    /// By which its library finds it.
    env: Vec<(&'static str, String)>,
    _running: Vec<Process>,
}

impl Token {
    /// A machine without any.
    fn none(at: &Path) -> Self {
        fs::create_dir_all(at.join("tokens")).expect("a folder");
        let conf = format!("directories.tokendir = {}\nobjectstore.backend = file\n", at.join("tokens").display());
        fs::write(at.join("softhsm2.conf"), conf).expect("written");
        let env = vec![("SOFTHSM2_CONF", at.join("softhsm2.conf").display().to_string())];
        Self { at: at.to_owned(), module: LIBRARY.into(), env, _running: vec![] }
    }

    fn new(at: &Path) -> Self {
        let token = Self::none(at);
        token.write_pin();
        token.tool("softhsm2-util", &["--init-token", "--free", "--label", "a ward", "--so-pin", "0815", "--pin", PIN]);
        token
    }

    /// A TPM, and the manager that a kernel's /dev/tpmrm0 is elsewhere. What its library keeps outside of it lies in `store`: on a gateway, on the card.
    fn tpm(at: &Path, store: &Path) -> Self {
        fs::create_dir_all(at.join("state")).expect("a folder");
        fs::create_dir_all(store).expect("a folder");
        let socket = at.join("tpm").display().to_string();
        let start = |name: &str, command: &mut Command| Process::start(name, command, &at.join("log")).expect("run tests/setup");
        let tpm = start(
            "swtpm",
            Command::new("swtpm").args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear", "--tpmstate"]).args([
                format!("dir={}", at.join("state").display()),
                "--server".into(),
                format!("type=unixio,path={socket}"),
                "--ctrl".into(),
                format!("type=unixio,path={socket}.ctrl"),
            ]),
        );
        crate::ward::wait("the TPM's socket", || Path::new(&socket).exists());
        let mut bus = start("dbus-daemon", Command::new("dbus-daemon").args(["--session", "--nofork", "--print-address"]));
        let address = bus.wait_for(READY_S_MAX, |line| Some(line.to_owned())).expect("its address");
        let manager = start(
            "tpm2-abrmd",
            Command::new("tpm2-abrmd")
                .args(["--allow-root", "--session", &format!("--tcti=swtpm:path={socket}")])
                .env("DBUS_SESSION_BUS_ADDRESS", &address),
        );
        let env = vec![
            ("DBUS_SESSION_BUS_ADDRESS", address),
            ("TPM2TOOLS_TCTI", "tabrmd:bus_type=session".into()),
            ("TPM2_PKCS11_TCTI", "tabrmd:bus_type=session".into()),
            ("TPM2_PKCS11_STORE", store.display().to_string()),
        ];
        // Debian 12 has it among all libraries, Debian 13 in a folder for such
        let folders = fs::read_dir("/usr/lib").expect("a system").filter_map(|e| Some(e.ok()?.path()));
        let files = folders.flat_map(|at| ["libtpm2_pkcs11.so.1", "pkcs11/libtpm2_pkcs11.so.1"].map(|file| at.join(file)));
        let module = files.into_iter().find(|file| file.exists()).expect("run tests/setup");
        let token = Self { at: at.to_owned(), module, env, _running: vec![manager, bus, tpm] };
        token.write_pin();
        crate::ward::wait("the TPM's manager", || {
            token.with(&mut Command::new("tpm2_getrandom")).args(["--hex", "8"]).output().is_ok_and(|done| done.status.success())
        });
        token
    }

    fn write_pin(&self) {
        fs::write(self.at.join("pin"), PIN).expect("written");
        fs::set_permissions(self.at.join("pin"), fs::Permissions::from_mode(0o600)).expect("changed");
    }

    fn tool(&self, program: &str, words: &[&str]) {
        let done = self.with(&mut Command::new(program)).args(words).output().unwrap_or_else(|e| panic!("{program}: {e}: run tests/setup"));
        assert!(done.status.success(), "{program} {words:?}: {}", said(&done));
    }

    /// By the tools that people make keys with.
    fn make(&self, label: &str, words: &[&str]) {
        let first = ["--module", LIBRARY, "--login", "--pin", PIN, "--label", label];
        self.tool("pkcs11-tool", &[&first[..], words].concat());
    }

    fn with<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.envs(self.env.iter().map(|(name, value)| (*name, value)))
    }

    fn uri(&self, object: &str) -> String {
        let (module, pin) = (self.module.display(), self.at.join("pin"));
        format!("pkcs11:token=a%20ward;object={object}?module-path={module}&pin-source=file:{}", pin.display())
    }
}

fn wardgate(token: Option<&Token>, at: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(binary("wardgate").expect("built"));
    if let Some(token) = token {
        token.with(&mut command);
    }
    command.args(words).current_dir(at).output().expect("it runs")
}

fn well(token: &Token, at: &Path, words: &[&str]) -> String {
    let done = wardgate(Some(token), at, words);
    assert!(done.status.success(), "{words:?}: {}", said(&done));
    said(&done)
}

fn start(stage: &mut Stage, token: &Token) {
    stage.write_configuration().expect("written");
    let mut process = stage.spawn_gateway(token.with(&mut Command::new(binary("wardgate").expect("built")))).expect("it starts");
    process.wait_for(READY_S_MAX, |l| l.starts_with("ready").then_some(())).expect("ready");
    stage.gateway = Some(process);
}

//= PROMISES.md#P177
#[test]
fn the_devices_secret_is_made_by_a_token_and_a_card_without_it_gives_nothing_away() {
    let folder = Folder::new("token-device");
    let token = Token::new(&folder.0.join("token"));
    token.make("wardgate", &["--keygen", "--key-type", "GENERIC:32", "--usage-sign", "--sensitive"]);
    let elsewhere = Token::none(&folder.0.join("elsewhere"));
    a_card_without_its_token_gives_nothing_away(&folder, &token, &elsewhere, "0 tokens here are meant by it");
}

//= PROMISES.md#P306
#[test]
fn the_devices_secret_is_made_by_a_tpm_as_the_threat_model_says_and_a_card_in_another_machine_gives_nothing_away() {
    let folder = Folder::new("token-tpm");
    let store = folder.0.join("store");
    let token = Token::tpm(&folder.0.join("token"), &store);
    // its commands, with this token's PINs and names
    let text = fs::read_to_string(root().join("docs/threat-model.md")).expect("the checkout");
    let commands: Vec<_> = text.lines().filter(|line| line.starts_with("tpm2_ptool ")).collect();
    assert_eq!(commands.len(), 3, "{commands:?}");
    for command in commands {
        let line = command.replace("/etc/tpm2_pkcs11", &store.display().to_string()).replace("--label ward", "--label 'a ward'");
        token.tool("sh", &["-c", &line.replace("\"$(cat /etc/wardgate/pin)\"", PIN).replace("SOPIN", "0815")]);
    }
    let elsewhere = Token::tpm(&folder.0.join("elsewhere"), &store);
    a_card_without_its_token_gives_nothing_away(&folder, &token, &elsewhere, "the token does not open");
}

fn a_card_without_its_token_gives_nothing_away(folder: &Folder, token: &Token, elsewhere: &Token, words: &str) {
    let one = another(&folder.0, "0.1.1", 1, &crate::tamper::key(1), same);
    let mut stage = ward(folder, &one, "");
    let state = format!("state = \"{}/state\"", folder.0.display());
    stage.instead.push((state.clone(), format!("{state}\ndevice_key = \"{}\"", token.uri("wardgate"))));
    stage.start_broker().expect("the broker");
    stage.start_ward(&[]).expect("the devices");
    start(&mut stage, token);
    wait_status(&stage, "the chiller", |s| s.instances.get(CHILLER).is_some_and(|i| i.opens == 1));
    assert!(!folder.0.join("state/device.key").exists(), "no secret lies on the card");
    let maps = fs::read_to_string(format!("/proc/{}/maps", stage.gateway.as_ref().expect("started").id())).expect("it runs");
    assert!(
        maps.contains("wardgate") && !maps.contains("softhsm") && !maps.contains("pkcs11"),
        "the token's library is never in the gateway's process"
    );
    assert!(stage.gateway.as_mut().expect("started").stop().expect("it ends").success());
    let config = folder.0.join("gateway.toml").display().to_string();
    let key = well(token, &folder.0, &["audit", "key", "--config", &config]);
    start(&mut stage, token);
    assert_eq!(well(token, &folder.0, &["audit", "key", "--config", &config]), key, "the same at each start");
    let log = fs::read_to_string(folder.0.join("log/gateway.log")).unwrap_or_default();
    assert!(stage.gateway.as_mut().expect("started").stop().expect("it ends").success());
    assert!(well(token, &folder.0, &["audit", "verify", "--config", &config]).contains("is whole"), "{log}");

    // the card in somebody else's machine, with the PIN that lies on it and without the token
    let run = |config: &str| {
        let mut command = Command::new(binary("wardgate").expect("built"));
        elsewhere.with(&mut command).args(["--log", "text", "run", "--config", config]).output().expect("it runs")
    };
    let done = run(&config);
    assert!(done.status.code() == Some(5) && said(&done).contains(words), "{}", said(&done));
    // nor by a secret of its own: nothing that the gateway wrote counts under it
    let own = stage.configuration().replace(&format!("device_key = \"{}\"\n", token.uri("wardgate")), "");
    let file = folder.0.join("own.toml");
    fs::write(&file, own).expect("written");
    let done = wardgate(None, &folder.0, &["audit", "verify", "--config", &file.display().to_string()]);
    assert!(done.status.code() == Some(5) && said(&done).contains("is signed wrongly, or by another key"), "{}", said(&done));
    let done = wardgate(None, &folder.0, &["plugin", "accept", "--config", &file.display().to_string(), &one.display().to_string()]);
    assert!(done.status.code() == Some(5) && said(&done).contains("is not as this gateway wrote it"), "{}", said(&done));
}

#[test]
fn a_tokens_library_that_hangs_or_crashes_and_a_wrong_key_end_in_words() {
    let folder = Folder::new("token-faults");
    fs::create_dir_all(&folder.0).expect("a folder");
    let token = Token::new(&folder.0.join("token"));
    token.make("open", &["--keygen", "--key-type", "GENERIC:32", "--usage-sign", "--extractable"]);
    let library = |name: &str, body: &str| {
        let (source, made) = (folder.0.join(format!("{name}.c")), folder.0.join(format!("{name}.so")));
        fs::write(&source, format!("#include <stdlib.h>\n#include <unistd.h>\nlong C_GetFunctionList(void **l) {{ {body} return 5; }}\n"))
            .expect("written");
        let done = Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([&made, &source]).output().expect("a compiler");
        assert!(done.status.success(), "{}", said(&done));
        made.display().to_string()
    };
    let (hangs, crashes) = (library("hangs", "for (;;) sleep(1);"), library("crashes", "abort();"));
    let exposed = folder.0.join("exposed");
    fs::write(&exposed, PIN).expect("written");
    fs::set_permissions(&exposed, fs::Permissions::from_mode(0o644)).expect("changed");
    let wrong = folder.0.join("wrong");
    fs::write(&wrong, "1234").expect("written");
    fs::set_permissions(&wrong, fs::Permissions::from_mode(0o600)).expect("changed");
    let pin = |file: &Path, object: &str| {
        format!("pkcs11:token=a%20ward;object={object}?module-path={LIBRARY}&pin-source=file:{}", file.display())
    };
    for (uri, words) in [
        (format!("pkcs11:object=x?module-path={hangs}"), "did not answer within"),
        (format!("pkcs11:object=x?module-path={crashes}"), "may have brought it down"),
        ("pkcs11:object=x?module-path=/nowhere.so".into(), "/nowhere.so"),
        ("pkcs11:object=x?module-path=/x&pin-value=4711".into(), "it holds a PIN"),
        (pin(&exposed, "open"), "may read the PIN"),
        (pin(&wrong, "open"), "whether the PIN is right"),
        (token.uri("nobody"), "no secret key that it names"),
        (token.uri("open"), "can be taken out of the token"),
        ("/etc/key".into(), "is no address of a key in a token"),
    ] {
        let text = format!(
            "[gateway]\nid = \"ward\"\nstate = \"state\"\ndevice_key = \"{uri}\"\n[uplink]\nhost = \"broker\"\nca_file = \"ca.pem\"\nmac_key_file = \"mac.key\"\n"
        );
        fs::write(folder.0.join("gateway.toml"), text).expect("written");
        let mut command = Command::new(binary("wardgate").expect("built"));
        token.with(&mut command).env("WARDGATE_TEST_TOKEN_MS", "1500").args(["audit", "key", "--config", "gateway.toml"]);
        let done = command.current_dir(&folder.0).output().expect("it runs");
        assert!(
            done.status.code() == Some(5) && said(&done).contains(words) && said(&done).contains("what to do:"),
            "{uri}: {}",
            said(&done)
        );
        assert!(!said(&done).contains(PIN) || uri.contains(PIN), "{}", said(&done));
    }
}

//= PROMISES.md#P178
#[test]
fn a_vendor_a_site_and_a_fleets_desk_sign_by_keys_that_never_leave_a_token() {
    let site = Site::bare("token-signs");
    let token = Token::new(&site.path("token"));
    for label in ["acme", "site", "targets", "root"] {
        token.make(label, &["--keypairgen", "--key-type", "EC:edwards25519", "--usage-sign"]);
    }
    let at = site.path("");
    let uri = |label: &str| token.uri(label);
    // the vendor
    fs::remove_file(site.path("acme.pub")).expect("there");
    let said_ = well(&token, &at, &["plugin", "keygen", "acme", "--key", &uri("acme")]);
    let public = wardgate::plugin::PublicKey::read(&site.path("acme.pub")).expect("written");
    assert!(said_.contains(&public.id()), "{said_}");
    let package = tiny_into(&site.path("stick"), "acme", "1.0.0", 1, 9);
    let unsigned = wardgate::plugin::sealed(&package).expect("a package");
    let bare = wardgate::plugin::Sealed::new(unsigned.files().to_vec(), unsigned.claim.clone()).expect("a package");
    wardgate::plugin::write_sealed(&package, &bare).expect("written");
    let package = package.display().to_string();
    well(&token, &at, &["plugin", "sign", "--key", &uri("acme"), &package]);
    assert!(well(&token, &at, &["plugin", "verify", &package]).contains(&public.id()));
    // the site
    let config = root().join("runtime/gateway.toml").display().to_string();
    fs::copy(config, site.path("gateway.toml")).expect("copied");
    well(&token, &at, &["grant", "sign", "--key", &uri("site"), "gateway.toml"]);
    well(&token, &at, &["plugin", "keygen", "site", "--key", &uri("site")]);
    let key = wardgate::plugin::PublicKey::read(&site.path("site.pub")).expect("written");
    let text = fs::read_to_string(site.path("gateway.toml")).expect("there");
    wardgate::plugin::config_signature(&site.path("gateway.toml"), &text, &key).expect("signed");
    // the fleet's desk: the key that signs what may be installed, and one of the root's
    let trust = |token: &Token, words: &[&str]| {
        let mut command = Command::new(binary("wardgate-trust").expect("built"));
        let done = token.with(&mut command).arg("trust").args(words).args(["--now", NOW]).current_dir(&at).output().expect("it runs");
        (done.status.code(), said(&done))
    };
    let fine = |words: &[&str]| {
        let (code, text) = trust(&token, words);
        assert_eq!(code, Some(0), "{words:?}: {text}");
        text
    };
    fine(&["init", "fleet"]);
    fine(&["add-vendor", "acme", "--key", "acme.pub", "--fleet", "fleet"]);
    let (targets, root_key) = (uri("targets"), uri("root"));
    fine(&["rotate", "--role", "targets", "--with", &targets, "--fleet", "fleet"]);
    fine(&["rotate", "--role", "root", "--replace", "3", "--with", &root_key, "--fleet", "fleet"]);
    fine(&["publish", &package, "--fleet", "fleet"]);
    let held = fs::read_to_string(site.path("fleet/keys/targets-of-2.key")).expect("its address");
    assert!(held.starts_with("pkcs11:") && !held.contains("PRIVATE"), "{held}");
    // the tokens are locked away: what they sign is not signed
    let (code, why) = trust(&Token::none(&site.path("elsewhere")), &["publish", "--fleet", "fleet"]);
    assert!(code != Some(0) && why.contains("0 tokens here are meant by it"), "{code:?} {why}");
    fs::remove_file(site.path("fleet/keys/targets-of-2.key")).expect("there");
    assert!(trust(&token, &["publish", "--fleet", "fleet"]).1.contains("must be signed by 1 of its keys"));
    fine(&["publish", "--fleet", "fleet", "--keys", &targets]);
    let root_1 = "fleet/repository/metadata/1.root.json";
    fine(&["update", "--from", "fleet/repository", "--to", "gw", "--root", root_1]);
    assert_eq!(site.fleet()["vendors"][0]["keys"][0], public.id().as_str());
}
