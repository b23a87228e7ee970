//! A process that a test or the demo started: its lines are read, its log is kept, and it never outlives its owner.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// A process that says nothing for this long at its start hangs.
pub const READY_S_MAX: u64 = 60;
/// A clean stop writes one group and says goodbye to the broker.
pub const STOP_S_MAX: u64 = 20;

pub struct Process {
    pub name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    log: PathBuf,
}

impl Process {
    /// Standard output is read line by line, standard error goes to `log` (appended: a restart keeps the history).
    pub fn start(name: &str, command: &mut Command, log: &Path) -> Result<Self, String> {
        let program = command.get_program().to_owned();
        let command = &mut dies_with_us(command);
        let file = File::options().create(true).append(true).open(log).map_err(|e| format!("{}: {e}", log.display()))?;
        command.process_group(0); // Ctrl-C at the terminal is for the owner, who ends the others in order
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(file);
        let mut child = command.spawn().map_err(|e| format!("{name} does not start ({program:?}): {e}"))?;
        let output = child.stdout.take().expect("piped above");
        let stdin = child.stdin.take();
        let (said, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if said.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Self { name: name.to_owned(), child, stdin, lines, log: log.to_owned() })
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next line that `wanted` accepts; others are dropped.
    pub fn wait_for<T>(&mut self, seconds: u64, wanted: impl Fn(&str) -> Option<T>) -> Result<T, String> {
        loop {
            match self.lines.recv_timeout(Duration::from_secs(seconds)) {
                Ok(line) => {
                    if let Some(found) = wanted(&line) {
                        return Ok(found);
                    }
                }
                Err(why) => {
                    let ended = self.child.try_wait().ok().flatten();
                    let what = if why == RecvTimeoutError::Timeout { "says nothing" } else { "ended" };
                    return Err(format!("{} {what} ({ended:?}); its log ends:\n{}", self.name, self.log_end()));
                }
            }
        }
    }

    /// What it said since the last look.
    pub fn lines(&self) -> Vec<String> {
        self.lines.try_iter().collect()
    }

    pub fn tell(&mut self, line: &str) -> Result<(), String> {
        let stdin = self.stdin.as_mut().expect("piped at the start");
        writeln!(stdin, "{line}").and_then(|()| stdin.flush()).map_err(|e| format!("{} does not listen: {e}", self.name))
    }

    pub fn running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = Pid::from_raw(self.child.id().cast_signed()) {
            let _ = kill_process(pid, signal); // it may have ended by itself
        }
    }

    /// kill -9.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// SIGTERM, and its exit status.
    pub fn stop(&mut self) -> Result<ExitStatus, String> {
        self.signal(Signal::TERM);
        self.wait_end(STOP_S_MAX)
    }

    pub fn wait_end(&mut self, seconds: u64) -> Result<ExitStatus, String> {
        const LOOK_MS: u64 = 10; // short beside what is waited for
        for _ in 0..seconds * 1000 / LOOK_MS {
            match self.child.try_wait() {
                Ok(Some(status)) => return Ok(status),
                Ok(None) => thread::sleep(Duration::from_millis(LOOK_MS)),
                Err(e) => return Err(format!("{}: {e}", self.name)),
            }
        }
        Err(format!("{} does not end within {seconds} s; its log ends:\n{}", self.name, self.log_end()))
    }

    pub fn log_end(&self) -> String {
        const LINES: usize = 15;
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(LINES)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // its group too: a gateway whose strace is killed would go on, and hold the ports of those that come after it
        if let Some(group) = Pid::from_raw(self.child.id().cast_signed()) {
            let _ = kill_process_group(group, Signal::KILL); // nobody of it may be left
        }
        self.kill();
    }
}

/// The same command, ended by the kernel when the thread that starts it ends, also by kill -9: setpriv (util-linux) asks for that and becomes it.
pub(crate) fn dies_with_us(command: &Command) -> Command {
    let mut bound = Command::new("setpriv");
    bound.args(["--pdeathsig", "KILL"]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => bound.env(name, value),
            None => bound.env_remove(name),
        };
    }
    bound.current_dir(command.get_current_dir().unwrap_or(Path::new(".")));
    bound
}

/// The folder of the binaries that this one was built with.
pub fn binaries() -> PathBuf {
    let me = std::env::current_exe().expect("a running program has a path");
    let folder = me.parent().expect("it lies in a folder");
    if folder.ends_with("deps") { folder.parent().expect("deps lies in one").to_owned() } else { folder.to_owned() }
}

/// A binary of ours, or what to do when it is not built.
pub fn binary(name: &str) -> Result<PathBuf, String> {
    let path = binaries().join(name);
    if path.exists() { Ok(path) } else { Err(format!("{} is not built: run tests/build", path.display())) }
}

/// The workspace's folder.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the workspace")
}
