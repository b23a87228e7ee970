//! `wardgate check` against a site's slips: each is named with file and line, and mended by its own advice.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output};

use wardgate_lab::broker::Ca;
use wardgate_lab::process::{Process, READY_S_MAX, binary, root};

use crate::ward::Folder;

fn check(config: &Path) -> Output {
    Command::new(binary("wardgate").expect("built")).arg("check").arg("--config").arg(config).output().expect("it runs")
}

/// A site with one device behind Modbus, as somebody writes it by hand.
fn site(folder: &Path) -> String {
    for (name, text) in [("ca.pem", Ca::new().issue(&["broker"]).ca_pem.as_str()), ("mac.key", "0123456789abcdef0123456789abcdef")] {
        fs::write(folder.join(name), text).expect("written");
    }
    fs::create_dir_all(folder.join("maps")).expect("a folder");
    fs::copy(root().join("plugins/modbus-map/maps/smc-hrs.map"), folder.join("maps/chiller.map")).expect("a map");
    fs::write(folder.join("maps/wrong.map"), "temperature holding 0 i16 x0.1 \"Cel\"\npressure holding 1 i61\n").expect("written");
    let packages = root().join("plugins/target/packages");
    format!(
        "[gateway]\nid = \"ward\"\nstate = \"state\"\ndeveloper_mode = true\n[uplink]\nhost = \"broker\"\nca_file = \"ca.pem\"\nmac_key_file = \"mac.key\"\n\
         [plugins]\nallow_unsigned = true\n[bus.plant]\ntcp = \"192.0.2.20:502\"\n\
         [instance.chiller]\npackage = \"{}/modbus-map-0.1.0\"\n[instance.chiller.settings]\n\
         map = {{ file = \"maps/chiller.map\" }}\nserver = 1\nperiod_ms = 1000\n[instance.chiller.grants.modbus]\nbus = \"plant\"\nservers = [1]\n\
         allow = [{{ function = 3, addresses = [\"0..11\"] }}]\n",
        packages.display()
    )
}

/// What is right, what somebody wrote instead, how the line begins that is named, exit code, what is advised.
const SLIPS: &[(&str, &str, &str, i32, &str)] = &[
    ("[bus.plant]", "[bus.plnat]", "bus = \"plant\"", 3, "write bus = \"plnat\", or add [bus.plant]"),
    ("servers = [1]", "server = [1]", "server = [1]", 3, "write \"servers\""),
    ("servers = [1]", "servers = []", "[instance.chiller.grants.modbus]", 3, "servers = [1]"),
    ("\"0..11\"", "\"11..0\"", "[instance.chiller.grants.modbus]", 3, "write \"0..11\""),
    ("function = 3, addresses = [\"0..11\"]", "function = 3", "[instance.chiller.grants.modbus]", 3, "addresses = [\"0..12\"]"),
    ("modbus-map-0.1.0\"", "modbus-map-0.2.0\"", "package", 4, "modbus-map-0.1.0\""),
    ("target/packages/", "target/package/", "package", 4, "target/packages/modbus-map-0.1.0\""),
    ("server = 1\n", "sever = 1\n", "sever", 3, "write \"server\""),
    ("server = 1\n", "server = \"1\"\n", "server", 3, "write server = 1"),
    ("{ file = \"maps/chiller.map\" }", "{ file = \"maps/chiler.map\" }", "map", 3, "maps/chiller.map\" }"),
    ("{ file = \"maps/chiller.map\" }", "{ shipped = \"smc-hsr\" }", "map", 3, "write { shipped = \"smc-hrs\" }"),
    ("ca_file = \"ca.pem\"", "ca_file = \"ca.pme\"", "ca_file", 3, "ca.pem\""),
    ("ca_file = \"ca.pem\"", "ca_file = \"mac.key\"", "ca_file", 7, "the CA that signed the broker's certificate"),
    ("host = \"broker\"", "host = \"broker\"\ntopic = \"a/#/b\"", "topic", 3, "write topic = \"wardgate/1\""),
    ("{ file = \"maps/chiller.map\" }", "{ file = \"maps/wrong.map\" }", "map", 3, "maps/wrong.map"),
    ("{ file = \"maps/chiller.map\" }", "\"temperature holding 0 u17\"", "map", 3, "correct the setting map"),
    ("period_ms = 1000", "gap = 200", "gap", 3, "write gap = 125"),
    ("[instance.chiller.grants.modbus]", "[instance.chiller.grants.modbsu]", "[instance.chiller.grants.modbsu]", 3, "write \"modbus\""),
];

#[test]
fn check_names_file_line_and_remedy_of_every_slip() {
    let folder = Folder::new("hints");
    fs::create_dir_all(&folder.0).expect("a folder");
    let config = folder.0.join("gateway.toml");
    let good = site(&folder.0);
    fs::write(&config, &good).expect("written");
    let output = check(&config);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("needs a link of at least 27 kbit/s"), "{said}");
    // what its map asks for and its grant does not give is said before the device is there, with the line that mends it
    let mut allowed = "{ function = 3, addresses = [\"0..5\"] }".to_owned();
    let given = "{ function = 3, addresses = [\"0..11\"] }";
    let mut missing = 0;
    loop {
        fs::write(&config, good.replace(given, &allowed)).expect("written");
        let said = String::from_utf8_lossy(&check(&config).stdout).into_owned();
        let warned = said.lines().find(|l| l.contains("WARNING: with these settings it asked to read holding registers"));
        let Some(line) = warned.map(|l| l.split_once("add to allow: ").expect(l).1) else { break };
        missing += 1;
        assert!(missing <= 2, "this map asks in two pieces: {said}");
        allowed += &format!(", {line}");
    }
    assert!(missing > 0, "registers 6 to 11 are not granted, and nobody said so");
    // what may be meant so is said, and refused it is not
    let port = folder.0.join("tty-monitor-1");
    fs::write(&port, "").expect("written");
    let more = format!(
        "{good}[bus.spare]\ntcp = \"192.0.2.21:502\"\n[instance.bed-1]\npackage = \"{}/plugins/target/packages/ivy450c-0.1.0\"\n\
         [instance.bed-1.grants.serial]\nport = \"tty-monitro-1\"\n",
        root().display()
    );
    fs::write(&config, &more).expect("written");
    let output = check(&config);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    let line = |find: &str| more.lines().position(|l| l.contains(find)).expect("it is in the text") + 1;
    for warning in [
        format!("line {}: no grant names the bus \"spare\"", line("[bus.spare]")),
        format!(
            "line {}: {} is not there now; {} is there",
            line("grants.serial"),
            folder.0.join("tty-monitro-1").display(),
            port.display()
        ),
    ] {
        assert!(said.contains(&warning), "{warning}: {said}");
    }
    for (right, wrong, begins, code, advice) in SLIPS {
        assert!(good.contains(right), "{right}");
        let text = good.replacen(right, wrong, 1);
        fs::write(&config, &text).expect("written");
        let output = check(&config);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(*code), "{wrong}: {said}");
        let named = said.split("gateway.toml, line ").nth(1).and_then(|rest| rest.split(':').next()?.parse::<usize>().ok());
        let line = named.and_then(|n| text.lines().nth(n - 1)).unwrap_or_default();
        assert!(line.starts_with(begins), "{wrong}: it names the line \"{line}\": {said}");
        assert!(said.contains(advice), "{wrong}: {advice} was expected: {said}");
    }
    // what a package asks for and the site does not grant: the line to add works as it stands, with the site's own names in it
    let (before, _) = good.split_once("[instance.chiller.grants.modbus]").expect("it stands there");
    fs::write(&config, before.replace("[instance.chiller.settings]", "grants = {}\n[instance.chiller.settings]")).expect("written");
    let said = String::from_utf8_lossy(&check(&config).stderr).into_owned();
    let line = said.lines().find_map(|l| Some(&l[l.find("modbus = { bus")?..])).unwrap_or_else(|| panic!("no line to add: {said}"));
    let line = line.replace("\"...\"", "\"plant\"");
    fs::write(&config, format!("{before}[instance.chiller.grants]\n{line}\n")).expect("written");
    let output = check(&config);
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
}

/// One serial line has one reader, whatever names it has.
//= PROMISES.md#P236
#[test]
fn check_refuses_one_port_for_two_instances() {
    let folder = Folder::new("one-port");
    fs::create_dir_all(&folder.0).expect("a folder");
    let good = site(&folder.0);
    fs::write(folder.0.join("ttyUSB0"), "").expect("written");
    symlink("ttyUSB0", folder.0.join("by-id")).expect("a link");
    let config = folder.0.join("gateway.toml");
    let monitor = |name: &str, port: &str| {
        let package = root().join("plugins/target/packages/ivy450c-0.1.0");
        format!("[instance.{name}]\npackage = \"{}\"\n[instance.{name}.grants.serial]\nport = \"{port}\"\n", package.display())
    };
    for (one, two, taken) in
        [("ttyUSB0", "ttyUSB1", false), ("ttyUSB0", "ttyUSB0", true), ("by-id", "ttyUSB0", true), ("gone", "./gone", true)]
    {
        let text = good.clone() + &monitor("bed-1", one) + &monitor("bed-2", two);
        fs::write(&config, &text).expect("written");
        let output = check(&config);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(if taken { 3 } else { 0 }), "{one} {two}: {said}");
        let line = text.lines().count(); // the last one is the port of bed-2
        assert!(!taken || said.contains(&format!("line {line}: ")) && said.contains("of instance \"bed-1\""), "{one} {two}: {said}");
        assert!(!taken || said.contains("name another port"), "{said}");
    }
    let text = good.clone() + "[bus.line]\nserial = \"ttyUSB0\"\n" + &monitor("bed-1", "by-id");
    fs::write(&config, &text).expect("written");
    let output = check(&config);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(3) && said.contains("of bus \"line\""), "a Modbus bus has its line alone: {said}");
}

/// Two owners of one bus would hear each other's answers.
//= PROMISES.md#P236
#[test]
fn check_refuses_two_owners_of_one_bus() {
    let folder = Folder::new("two-owners");
    fs::create_dir_all(&folder.0).expect("a folder");
    let good = site(&folder.0);
    let config = folder.0.join("gateway.toml");
    let port = "/dev/ttyS99"; // not there: names are compared as they are written
    for (one, two, taken) in [
        ("tcp = \"192.0.2.9:502\"", "tcp = \"192.0.2.9:503\"", false),
        ("tcp = \"192.0.2.9:502\"", "tcp = \"192.0.2.9:502\"", true),
        ("tcp = \"192.0.2.9:502\"\nprotocol = \"rtu\"", "tcp = \"192.0.2.9:502\"\nprotocol = \"rtu\"", true),
        ("serial = \"tcp://moxa:4001\"", "serial = \"rfc2217://MOXA:4001\"", true),
        ("tcp = \"moxa:4001\"\nprotocol = \"rtu\"", "serial = \"tcp://moxa:4001\"", true),
        (&format!("serial = \"{port}\""), "serial = \"/dev/../dev/ttyS99\"", true),
        (&format!("serial = \"{port}\""), "serial = \"/dev/ttyS98\"", false),
        ("tcp = \"localhost:1502\"", "tcp = \"127.0.0.1:1502\"", true),
    ] {
        let text = format!("{good}[bus.one]\n{one}\n[bus.two]\n{two}\n");
        fs::write(&config, &text).expect("written");
        let output = check(&config);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(if taken { 3 } else { 0 }), "{one} {two}: {said}");
        let line = text.lines().position(|l| l == "[bus.two]").expect("it is there") + 2;
        assert!(!taken || said.contains(&format!("line {line}: ")) && said.contains("of bus \"one\" already"), "{one} {two}: {said}");
        assert!(!taken || said.contains("the grants of several instances may name one bus"), "{said}");
    }
}

/// What a grant or a bus says that cannot be, and what is only doubtful.
//= PROMISES.md#P83
#[test]
fn check_names_what_a_bus_cannot_do() {
    let folder = Folder::new("misfits");
    fs::create_dir_all(&folder.0).expect("a folder");
    let good = site(&folder.0);
    let config = folder.0.join("gateway.toml");
    let run = |text: &str| {
        fs::write(&config, text).expect("written");
        let output = check(&config);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let tcp = "tcp = \"192.0.2.20:502\"";
    let rtu = good.replace(tcp, "serial = \"/etc/passwd\"");
    let line = |text: &str, begins: &str| format!("line {}: ", text.lines().position(|l| l.starts_with(begins)).expect("there") + 1);
    let (code, said, _) = run(&rtu);
    assert!(code == Some(0) && said.contains(&(line(&rtu, "serial") + "/etc/passwd is no character device")), "{said}");
    let quirk = good.clone() + "checksum_quirk = true\n";
    let (code, _, said) = run(&quirk);
    assert!(code == Some(3) && said.contains(&(line(&quirk, "checksum_quirk") + "the wrong checksum that it takes")), "{said}");
    let all = rtu.replace("servers = [1]", "servers = [0, 1]");
    let (code, _, said) = run(&all);
    assert!(code == Some(3) && said.contains(&(line(&all, "servers") + "server 0 of a serial line is all servers at once")), "{said}");
    let (_, before) = good.split_once("[instance.chiller.grants.modbus]\n").expect("there");
    let inline = format!("grants = {{ modbus = {{ {} }} }}\n[instance.chiller.settings]", before.trim_end().replace('\n', ", "));
    let inline = good.replace(before, "").replace("[instance.chiller.grants.modbus]\n", "").replace("[instance.chiller.settings]", &inline);
    assert_eq!(run(&inline).0, Some(0), "{inline}");
    let (code, _, said) = run(&inline.replace("servers = [1]", "servers = [1, 300]"));
    assert!(code == Some(3) && said.contains("write 0 to 255 in the place of 300") && !said.contains("grants = {}"), "{said}");
    // A declaration that says less than what the plugin is seen to ask is no way around.
    let less =
        good.replace(tcp, "serial = \"/dev/none\"\nbaud = 300") + "transactions = [{ function = 3, count = 1, period_ms = 60000 }]\n";
    let (code, said, whole) = run(&less);
    assert!(code == Some(3) && whole.contains(&line(&less, "[bus.plant]")) && whole.contains("cannot serve chiller"), "{said} {whole}");
    assert!(whole.matches("poll less often").count() == 1 && !said.contains("poll less often"), "the remedy is said once: {said} {whole}");
    assert!(!whole.contains("another bus") && !whole.contains("timeout_ms"), "no remedy that changes nothing: {whole}");
    let less = less.replace("baud = 300", "baud = 115200");
    let (code, said, _) = run(&less);
    let warned = line(&less, "transactions") + "chiller: it is seen to ask for more than its transactions declare";
    assert!(code == Some(0) && said.contains(&warned) && said.contains("(answer_ms)"), "{said}");
}

/// Nobody declared what a register map polls: it is seen by letting the plugin ask.
#[test]
fn check_refuses_a_bus_that_is_too_slow_for_a_map() {
    let folder = Folder::new("slow-bus");
    fs::create_dir_all(&folder.0).expect("a folder");
    let good = site(&folder.0);
    let config = folder.0.join("gateway.toml");
    let tcp = good.lines().find(|line| line.starts_with("tcp = ")).expect("a bus");
    for (baud, served) in [(9600, true), (300, false)] {
        fs::write(&config, good.replace(tcp, &format!("serial = \"/dev/none\"\nbaud = {baud}"))).expect("written");
        let output = check(&config);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(if served { 0 } else { 3 }), "{baud}: {said}");
        assert!(said.contains(if served { " transactions, worst cycle" } else { "cannot serve chiller" }), "{baud}: {said}");
    }
}

/// What a newcomer copies: with the paths of this machine it passes `check`, and the gateway opens each of its plugins.
#[test]
fn the_example_is_right_and_runs() {
    let folder = Folder::new("example");
    fs::create_dir_all(&folder.0).expect("a folder");
    site(&folder.0); // for the files that it names
    let at = folder.0.display().to_string();
    for plugin in ["ivy450c", "modbus-map", "ble-glucose", "condition-watch"] {
        crate::tamper::signed_into(&folder.0.join("packages"), plugin);
    }
    crate::tamper::trusting(&folder.0.join("vendors"));
    let text = fs::read_to_string(root().join("runtime/gateway.toml")).expect("the example");
    let text = text
        .replace("/usr/lib/wardgate/packages", &format!("{at}/packages"))
        .replace("/etc/wardgate", &at)
        .replace("/var/lib/wardgate", &format!("{at}/state"));
    let config = folder.0.join("gateway.toml");
    fs::write(&config, &text).expect("written");
    let output = check(&config);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut command = Command::new(binary("wardgate").expect("built"));
    command.arg("run").arg("--config").arg(&config);
    let mut gateway = Process::start("gateway", &mut command, &folder.0.join("gateway.log")).expect("it starts");
    gateway.wait_for(READY_S_MAX, |l| l.starts_with("ready").then_some(())).unwrap_or_else(|e| panic!("{e}: {}", gateway.log_end()));
    let status: wardgate::status::Snapshot =
        wardgate::console::ask(&folder.0.join("state"), &wardgate::console::Question::Status).expect("it answers");
    for (name, instance) in &status.instances {
        assert_eq!((instance.opens, instance.faults), (1, 0), "{name}: {instance:#?}");
    }
    assert_eq!(status.instances.len(), 4);
    gateway.stop().expect("it ends");
}
