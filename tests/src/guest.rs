//! The guest with the real BlueZ (tests/ble): an emulated aarch64 machine whose Bluetooth chip is Bumble's, with peripherals of Bumble around it.
//! Files come in by a shared folder, orders over a line on which a shell runs them, and the way out leads to this machine's loopback.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value as Json;

use crate::ports;
use crate::process::{Process, READY_S_MAX, root};

const BOOT_S_MAX: u64 = 180; // it takes 6 s; a busy machine is ten times slower
const ORDER_S_MAX: u64 = 120; // bluetoothctl alone takes 2 s, gateways that start compile their plugins
/// As the newer of the Pis.
pub const CPU: &str = "cortex-a72";
const SHELL_LINES: &str = "=ready=";
/// The second UART: its chardev in QEMU, its name in the guest, and its line in the kernel's list of them.
const UART: &str = "uart";
pub const UART_PORT: &str = "/dev/ttyS1";
const UART_LIST: &str = "grep '^1:' /proc/tty/driver/serial";

/// Why the guest cannot run here, if it cannot.
pub fn missing() -> Option<String> {
    let there = |program: &str| {
        let paths = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&paths).any(|folder| folder.join(program).exists())
    };
    let program = ["qemu-system-aarch64", "mmdebstrap"].into_iter().find(|program| !there(program));
    if let Some(program) = program {
        return Some(format!("{program} is not there: run make test-setup"));
    }
    (!python().exists()).then(|| "tests/.venv is not there: run make test-setup".to_owned())
}

fn python() -> PathBuf {
    root().join("tests/.venv/bin/python")
}

/// The kernel and the initial file system, made when they are not there yet.
fn image() -> Result<PathBuf, String> {
    let script = root().join("tests/ble/image");
    let made = Command::new(&script).output().map_err(|e| format!("{}: {e}", script.display()))?;
    if !made.status.success() {
        return Err(format!("{} failed: {}", script.display(), String::from_utf8_lossy(&made.stderr)));
    }
    Ok(PathBuf::from(String::from_utf8_lossy(&made.stdout).trim()))
}

/// The peripherals, and the chip of the guest.
pub struct Peripherals {
    process: Process,
    /// Everything that was said so far.
    said: Vec<Json>,
    pub port: u16,
}

impl Peripherals {
    /// `sent` gets a log for each.
    pub fn start(sent: &Path, log: &Path) -> Result<Self, String> {
        let port = ports::own().map_err(|e| format!("no port is free: {e}"))?;
        let mut command = Command::new(python());
        command.arg(root().join("tests/ble/peripherals.py"));
        command.arg("--hci").arg(format!("tcp-server:127.0.0.1:{port}")).arg("--sent").arg(sent);
        let mut process = Process::start("peripherals", &mut command, log)?;
        process.wait_for(READY_S_MAX, |line| line.contains("\"ready\"").then_some(()))?;
        Ok(Self { process, said: Vec::new(), port })
    }

    fn look(&mut self) {
        self.said.extend(self.process.lines().iter().filter_map(|line| serde_json::from_str::<Json>(line).ok()));
    }

    /// How much was said so far: what comes later is behind this mark.
    pub fn mark(&mut self) -> usize {
        self.look();
        self.said.len()
    }

    /// An order, and its end.
    pub fn tell(&mut self, order: &str) -> Result<(), String> {
        let mark = self.mark();
        self.process.tell(order)?;
        self.wait(mark, &format!("the end of {order:?}"), |said| said["event"] == "done" && said["order"] == order).map(|_| ())
    }

    /// The first thing said behind the mark that is wanted.
    pub fn wait(&mut self, mark: usize, what: &str, wanted: impl Fn(&Json) -> bool) -> Result<Json, String> {
        const LOOK_MS: u64 = 20;
        for _ in 0..ORDER_S_MAX * 1000 / LOOK_MS {
            self.look();
            if let Some(said) = self.said[mark..].iter().find(|said| wanted(said)) {
                return Ok(said.clone());
            }
            if !self.process.running() {
                break;
            }
            sleep(Duration::from_millis(LOOK_MS));
        }
        let end: Vec<_> = self.said.iter().rev().take(10).rev().map(Json::to_string).collect();
        Err(format!("the peripherals did not say {what}; they said at last\n{}\n{}", end.join("\n"), self.process.log_end()))
    }

    /// An event of one peripheral.
    pub fn event(&mut self, mark: usize, name: &str, event: &str) -> Result<Json, String> {
        self.wait(mark, &format!("{event} of {name}"), |said| said["event"] == event && said["name"] == name)
    }

    /// What went out while somebody listened, and what was written, by peripheral.
    pub fn books(&mut self) -> Result<Json, String> {
        let mark = self.mark();
        self.process.tell("books")?;
        self.wait(mark, "books", |said| said["event"] == "books")
    }
}

pub struct Guest {
    machine: Process,
    shell: BufReader<UnixStream>,
    /// The far end of its second UART, and QEMU's own monitor, which makes the break.
    uart: UnixStream,
    monitor: BufReader<UnixStream>,
    /// Until its shell answered.
    pub boot: Duration,
}

impl Guest {
    /// `share` is `/mnt` there; 10.0.2.2 is this machine's loopback.
    pub fn start(share: &Path, chip: u16, folder: &Path) -> Result<Self, String> {
        let image = image()?;
        let begun = Instant::now();
        let line = folder.join("shell.sock");
        let mut command = Command::new("qemu-system-aarch64");
        command.args(["-accel", "tcg", "-M", "virt", "-cpu", CPU, "-m", "768", "-nodefaults", "-nographic", "-no-reboot"]);
        command.arg("-kernel").arg(image.join("vmlinuz")).arg("-initrd").arg(image.join("initrd"));
        command.args(["-append", "console=ttyAMA0 quiet panic=-1", "-serial", "stdio"]);
        command.arg("-chardev").arg(format!("socket,id=chip,host=127.0.0.1,port={chip}")).args(["-device", "pci-serial,chardev=chip"]);
        let (uart, monitor) = (folder.join("uart.sock"), folder.join("monitor.sock"));
        command.arg("-chardev").arg(format!("socket,id={UART},path={},server=on,wait=off", uart.display()));
        command.args(["-device", &format!("pci-serial,chardev={UART}")]);
        command.arg("-qmp").arg(format!("unix:{},server=on,wait=off", monitor.display()));
        command.arg("-chardev").arg(format!("socket,id=shell,path={},server=on,wait=off", line.display()));
        command.args(["-device", "virtio-serial-pci", "-device", "virtconsole,chardev=shell"]);
        command.args(["-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net,romfile="]);
        command.arg("-fsdev").arg(format!("local,id=share,path={},security_model=none", share.display()));
        command.args(["-device", "virtio-9p-pci,fsdev=share,mount_tag=host"]);
        let mut machine = Process::start("guest", &mut command, &folder.join("guest.log"))?;
        let shell = connect(&line, &mut machine)?;
        let (uart, monitor) = (connect(&uart, &mut machine)?, BufReader::new(connect(&monitor, &mut machine)?));
        let mut guest = Self { machine, shell: BufReader::new(shell), uart, monitor, boot: Duration::ZERO };
        guest.ask_qemu(r#"{"execute":"qmp_capabilities"}"#)?;
        guest.until(BOOT_S_MAX, |said| said == SHELL_LINES)?;
        guest.boot = begun.elapsed();
        Ok(guest)
    }

    /// Lines up to the one that is wanted, which comes last.
    fn until(&mut self, seconds: u64, wanted: impl Fn(&str) -> bool) -> Result<Vec<String>, String> {
        self.shell.get_ref().set_read_timeout(Some(Duration::from_secs(seconds))).map_err(|e| e.to_string())?;
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            match self.shell.read_line(&mut line) {
                Ok(n) if n > 0 => lines.push(line.trim_end().to_owned()),
                why => return Err(format!("the guest's shell: {why:?} after\n{}\n{}", lines.join("\n"), self.console())),
            }
            if lines.last().is_some_and(|last| wanted(last)) {
                return Ok(lines);
            }
        }
    }

    fn console(&self) -> String {
        format!("{}\n{}", self.machine.lines().join("\n"), self.machine.log_end())
    }

    fn ask_qemu(&mut self, what: &str) -> Result<(), String> {
        let failed = |e: std::io::Error| format!("QEMU's monitor: {e}");
        self.monitor.get_ref().set_read_timeout(Some(Duration::from_secs(ORDER_S_MAX))).map_err(failed)?;
        writeln!(self.monitor.get_mut(), "{what}").map_err(failed)?;
        loop {
            let mut line = String::new();
            match self.monitor.read_line(&mut line) {
                Ok(n) if n > 0 && line.contains("\"return\"") => return Ok(()),
                Ok(n) if n > 0 && !line.contains("\"error\"") => {} // its greeting, an event
                other => return Err(format!("QEMU's monitor answers {what} with {other:?}: {line}")),
            }
        }
    }

    /// What the UART has seen since the guest stands: bytes, and breaks.
    fn uart_has_seen(&mut self) -> Result<(u64, u64), String> {
        let list = self.well(UART_LIST)?;
        let count = |what: &str| list.split_whitespace().find_map(|word| word.strip_prefix(what)?.parse().ok()).unwrap_or(0);
        Ok((count("rx:"), count("brk:")))
    }

    /// Bytes on the UART's line; returns when the kernel has taken them.
    pub fn uart_says(&mut self, bytes: &[u8]) -> Result<(), String> {
        let before = self.uart_has_seen()?.0;
        self.uart.write_all(bytes).map_err(|e| format!("the UART's line: {e}"))?;
        self.uart_waits("bytes", |(received, _)| received >= before + bytes.len() as u64)
    }

    /// A break on the UART's line.
    pub fn uart_breaks(&mut self) -> Result<(), String> {
        let before = self.uart_has_seen()?.1;
        self.ask_qemu(&format!(r#"{{"execute":"chardev-send-break","arguments":{{"id":"{UART}"}}}}"#))?;
        self.uart_waits("a break", |(_, breaks)| breaks > before)
    }

    fn uart_waits(&mut self, what: &str, so: impl Fn((u64, u64)) -> bool) -> Result<(), String> {
        const LOOK_MS: u64 = 50;
        for _ in 0..ORDER_S_MAX * 1000 / LOOK_MS {
            if so(self.uart_has_seen()?) {
                return Ok(());
            }
            sleep(Duration::from_millis(LOOK_MS));
        }
        Err(format!("the guest's UART has not seen {what}: {}", self.well(UART_LIST)?))
    }

    /// Runs a line of shell: its output and its exit status.
    pub fn run(&mut self, order: &str) -> Result<(String, i32), String> {
        let told = writeln!(self.shell.get_mut(), "{order}");
        told.map_err(|e| format!("the guest does not listen: {e}\n{}", self.console()))?;
        let status = |line: &str| line.strip_prefix('=')?.strip_suffix('=')?.parse::<i32>().ok();
        let mut lines = self.until(ORDER_S_MAX, |line| status(line).is_some())?;
        let ended = lines.pop().as_deref().and_then(status).unwrap_or(-1);
        Ok((lines.join("\n").trim_end().to_owned(), ended))
    }

    /// As `run`, of something that must go well.
    pub fn well(&mut self, order: &str) -> Result<String, String> {
        match self.run(order)? {
            (said, 0) => Ok(said),
            (said, status) => Err(format!("in the guest, {order:?} ended with {status}:\n{said}")),
        }
    }
}

fn connect(line: &Path, machine: &mut Process) -> Result<UnixStream, String> {
    const LOOK_MS: u64 = 50;
    for _ in 0..READY_S_MAX * 1000 / LOOK_MS {
        if let Ok(stream) = UnixStream::connect(line) {
            return Ok(stream);
        }
        if !machine.running() {
            break;
        }
        sleep(Duration::from_millis(LOOK_MS));
    }
    Err(format!("the guest does not start: {}", machine.log_end()))
}

/// The gateway for aarch64 that `make arm` built, without what only a debugger reads: the guest reads it over the shared folder.
pub fn gateway(into: &Path) -> Result<(), String> {
    let built = crate::process::binaries().with_file_name("aarch64-unknown-linux-gnu").join("debug/wardgate");
    if !built.exists() {
        return Err(format!("{} is not built: run make arm", built.display()));
    }
    let stripped = Command::new("aarch64-linux-gnu-strip").arg("--strip-debug").arg("-o").arg(into).arg(&built).status();
    match stripped {
        Ok(status) if status.success() => Ok(()),
        other => Err(format!("aarch64-linux-gnu-strip {}: {other:?}: run make test-setup", built.display())),
    }
}

/// What one peripheral sent: each message's values by channel, in order.
pub fn sent(folder: &Path, name: &str) -> Vec<Json> {
    let text = fs::read_to_string(folder.join(format!("{name}.jsonl"))).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}
