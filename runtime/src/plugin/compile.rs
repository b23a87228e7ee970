//! Component to machine code, in a child process of the same binary with limits of its own: what a compiler does with hostile input
//! is not known in advance, and an idle gateway need not carry the compiler's memory.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, Signal, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wasmtime::component::Component;

mod confine;
mod elsewhere;

use confine::{LANDLOCK, SECCOMP, confine, try_to_break_out};

use super::cache::{CODE_BYTES_MAX, Cache, CacheKey, Found, Origin};
use super::engine::{Profile, compiling};
use super::package::{COMPONENT_BYTES_MAX, bounded};
use super::{DeviceKey, Host, Package, PluginError};
use crate::contract::printable;

/// The hidden verb of this binary.
pub const VERB: &str = "compile-plugin";

const STDERR_BYTES_MAX: u64 = 4 << 10; // the reason is one line; the rest would be a dump
/// How the child says that the fault is the disk's, not the component's.
const CANNOT_WRITE: u8 = 5;
const REASON_BYTES_MAX: usize = 600;
/// Begins the child's first line.
const WALLS: &str = "walls: ";
/// Instead of a profile: the child tries to break out, and writes down what it could. A test asks for it.
const BREAK_OUT: &str = "break-out";

/// Instead of a profile: the child says which walls stand around it, and nothing else.
const ASK_WALLS: &str = "walls";
const OWN_USER: &str = "a user of its own";
const WALLS_BYTES_MAX: u64 = 256; // two words

/// What stands around a compiler that works for this gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Around {
    pub stands: Vec<&'static str>,
    pub lacks: Vec<&'static str>,
}

impl Around {
    /// `words`: what the compiler says of itself.
    fn of(words: &str, own_user: bool) -> Self {
        let has = |wall: &str| words.split_whitespace().any(|word| word == wall);
        let walls = [(SECCOMP, has(SECCOMP)), (LANDLOCK, has(LANDLOCK)), (OWN_USER, own_user)];
        let which = |stands: bool| walls.iter().filter(|(_, has)| *has == stands).map(|(wall, _)| *wall).collect();
        Self { stands: which(true), lacks: which(false) }
    }

    /// What it should not work without: the kernel's walls anywhere, another user on an image for wards, which has one.
    pub fn missing(&self, production: bool) -> Vec<&'static str> {
        self.lacks.iter().copied().filter(|wall| production || *wall != OWN_USER).collect()
    }

    pub fn in_words(&self) -> String {
        if self.stands.is_empty() { "nothing".into() } else { self.stands.join(", ") }
    }
}

/// What one compilation may use.
#[derive(Clone, Copy, Debug)]
pub struct CompileLimits {
    pub address_bytes: u64,
    pub cpu_s: u64,
    pub wall_s: u64,
}

impl Default for CompileLimits {
    fn default() -> Self {
        Self {
            address_bytes: 512 << 20, // a Rust adapter takes 20 MiB and JavaScript's engine 60; a Pi has 1 GiB and other work
            cpu_s: 60,                // a Rust adapter takes 1 s on the slowest Pi, JavaScript's engine 20
            wall_s: 120,              // twice that, because the ward's devices come first
        }
    }
}

/// Compiles what its cache does not hold.
pub struct Compiler {
    program: PathBuf,
    leading: Vec<OsString>,
    limits: CompileLimits,
    cache: Cache,
    /// Of a compiler that another user runs, instead of a child.
    socket: Option<PathBuf>,
    /// Walls that it lacks, for which it is given nothing.
    refused_without: Vec<&'static str>,
}

impl Compiler {
    /// `program` with `leading` arguments must end in [`child_main`]: the running binary itself, with [`Compiler::VERB`].
    pub fn open(
        state: &Path,
        key: DeviceKey,
        program: PathBuf,
        leading: Vec<OsString>,
        limits: CompileLimits,
    ) -> Result<Self, PluginError> {
        Ok(Self { program, leading, limits, cache: Cache::open(state, key)?, socket: None, refused_without: Vec::new() })
    }

    /// By whom, where a site names somebody.
    pub fn at(self, socket: Option<PathBuf>) -> Self {
        Self { socket, ..self }
    }

    /// From now on it compiles nothing, because it lacks these walls; what was compiled before is used.
    pub fn refused_without(self, walls: Vec<&'static str>) -> Self {
        Self { refused_without: walls, ..self }
    }

    /// Which walls stand around it; one that does not answer has none that anybody knows of.
    pub async fn around(&self, profile: Profile) -> Around {
        let patience = Duration::from_secs(self.limits.wall_s);
        let asked = match &self.socket {
            Some(socket) => elsewhere::ask(socket, ASK_WALLS, ASK_WALLS, &[], patience).await,
            None => {
                let scratch = self.cache.scratch_named(ASK_WALLS);
                let done = self.compile(ASK_WALLS, ASK_WALLS, &[], &scratch).await;
                let words = done.and_then(|()| bounded(&scratch, WALLS_BYTES_MAX, "two words are far smaller"));
                let _ = fs::remove_file(&scratch); // it may not be there
                words
            }
        };
        let words = asked.unwrap_or_else(|why| {
            tracing::warn!(profile = profile.name(), "which walls stand around the compiler is not known: {why}");
            Vec::new()
        });
        Around::of(&String::from_utf8_lossy(&words), self.socket.is_some())
    }

    pub const VERB: &'static str = VERB;

    /// A package's code, where it was compiled before.
    pub fn kept(&self, host: &Host, package: &Package) -> Option<Component> {
        match self.cache.load(host, CacheKey::of(host, package)) {
            Found::Code(component) => Some(component),
            Found::Nothing | Found::Refused(_) | Found::Unusable(_) => None, // who compiles it tells
        }
    }

    /// A package's code, from the cache where it is there and ours.
    pub async fn code(&self, host: &Host, package: &Package) -> Result<(Component, Origin), PluginError> {
        let plugin = package.manifest.full_name();
        let key = CacheKey::of(host, package);
        let origin = match self.cache.load(host, key) {
            Found::Code(component) => return Ok((component, Origin::Cache)),
            Found::Nothing | Found::Refused(_) => Origin::Compiled,
            Found::Unusable(why) => {
                tracing::warn!(%plugin, why, "the kept code of this plugin is not used: compiling it again");
                Origin::Recompiled(why)
            }
        };
        if !self.refused_without.is_empty() {
            return Err(PluginError::Unwalled { plugin, lacks: self.refused_without.join(", ") });
        }
        let (profile, component) = (host.profile.name(), &package.component[..]);
        let code = match &self.socket {
            Some(socket) => elsewhere::ask(socket, &plugin, profile, component, Duration::from_secs(self.limits.wall_s)).await,
            None => {
                let scratch = self.cache.scratch(key);
                let done = self.compile(&plugin, profile, component, &scratch).await;
                let code = done.and_then(|()| bounded(&scratch, CODE_BYTES_MAX, "code is far smaller"));
                let _ = fs::remove_file(&scratch); // it may not be there, and what matters is told below
                code
            }
        };
        self.cache.store(key, &code?)?;
        match self.cache.load(host, key) {
            Found::Code(component) => Ok((component, origin)),
            Found::Refused(why) => Err(PluginError::Invalid { plugin, why: printable(&why, REASON_BYTES_MAX) }),
            Found::Nothing | Found::Unusable(_) => {
                Err(PluginError::Invalid { plugin, why: "its fresh code cannot be loaded; is the disk failing?".into() })
            }
        }
    }

    /// The component goes in by a pipe: what was checked is what is compiled, whatever happens to the file meanwhile.
    async fn compile(&self, plugin: &str, profile: &str, component: &[u8], scratch: &Path) -> Result<(), PluginError> {
        let failed = |why| PluginError::Compiler { program: self.program.clone(), why };
        let mut command = tokio::process::Command::new(&self.program);
        command.args(&self.leading).arg(scratch).arg(profile);
        command.arg(self.limits.address_bytes.to_string()).arg(self.limits.cpu_s.to_string());
        command.env_clear().stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        command.process_group(0); // a Ctrl-C is for the gateway, which then says why it ends
        let mut child = command.spawn().map_err(failed)?;
        let (mut stdin, stderr) = (child.stdin.take().expect("piped"), child.stderr.take().expect("piped"));
        let mut said = Vec::new();
        let work = async {
            let feed = async {
                // A child that refuses early closes its end; its own words say why.
                let _ = stdin.write_all(component).await;
                drop(stdin);
            };
            let mut stderr = stderr.take(STDERR_BYTES_MAX);
            let (_, heard) = tokio::join!(feed, stderr.read_to_end(&mut said));
            heard?;
            drop(stderr); // more would block it, so it ends by a broken pipe
            child.wait().await
        };
        let ended = tokio::time::timeout(Duration::from_secs(self.limits.wall_s), work).await;
        let plugin = plugin.to_owned();
        match ended {
            Err(_) => Err(PluginError::CompileLimit { plugin, limit: format!("{} s in all", self.limits.wall_s) }),
            Ok(Err(why)) => Err(failed(why)),
            Ok(Ok(status)) => {
                let said = String::from_utf8_lossy(&said);
                let (walls, said) = walls_of(&said);
                tracing::debug!(%plugin, walls, "compiled behind walls");
                if status.success() { Ok(()) } else { Err(self.judge(plugin, status, said, scratch)) }
            }
        }
    }

    fn judge(&self, plugin: String, status: ExitStatus, said: &str, scratch: &Path) -> PluginError {
        if status.code() == Some(CANNOT_WRITE.into()) {
            let why = std::io::Error::other(printable(said.trim(), REASON_BYTES_MAX));
            return PluginError::State { path: scratch.to_owned(), what: "cannot write compiled code", why };
        }
        let signal = status.signal().and_then(Signal::from_named_raw);
        let memory = || format!("{} MiB of memory", self.limits.address_bytes >> 20);
        if matches!(signal, Some(Signal::XCPU | Signal::KILL)) {
            return PluginError::CompileLimit { plugin, limit: format!("{} s of processor time", self.limits.cpu_s) };
        }
        if signal == Some(Signal::XFSZ) {
            return PluginError::CompileLimit { plugin, limit: format!("{} MiB of code", CODE_BYTES_MAX >> 20) };
        }
        // Rust's allocator aborts; a mapping that is refused is told in words.
        if signal == Some(Signal::ABORT) && said.contains("memory allocation") || said.contains("Cannot allocate memory") {
            return PluginError::CompileLimit { plugin, limit: memory() };
        }
        let said = said.trim();
        let why =
            if said.is_empty() { format!("the compiler ended with {status} and said nothing") } else { printable(said, REASON_BYTES_MAX) };
        PluginError::Invalid { plugin, why }
    }
}

/// What its first line says of its walls, and the rest of what it said.
fn walls_of(said: &str) -> (&str, &str) {
    let first = said.strip_prefix(WALLS).and_then(|rest| rest.split_once('\n'));
    first.unwrap_or(("unknown", said))
}

/// What the hidden verb does, with the arguments after it: OUT PROFILE ADDRESS_BYTES CPU_S, the component on standard input.
pub fn child_main(args: &[OsString]) -> ExitCode {
    if args == [elsewhere::SERVE] {
        return elsewhere::serve();
    }
    match child(args) {
        Ok((code, mut out)) => match out.write_all(&code) {
            Ok(()) => ExitCode::SUCCESS,
            Err(why) => {
                let _ = writeln!(io::stderr(), "{why}");
                ExitCode::from(CANNOT_WRITE)
            }
        },
        Err(Ended { code, why }) => {
            let _ = writeln!(io::stderr(), "{why}"); // the parent reads it; without a parent there is nobody
            ExitCode::from(code)
        }
    }
}

/// Compiled code on its way out, and where to: opened before the walls went up.
type Code = (Vec<u8>, fs::File);

/// Why the child ends without code.
struct Ended {
    code: u8,
    why: String,
}

impl From<String> for Ended {
    fn from(why: String) -> Self {
        Self { code: 1, why }
    }
}

fn child(args: &[OsString]) -> Result<Code, Ended> {
    let words: Option<Vec<&str>> = args.iter().map(|a| a.to_str()).collect();
    let Some([out, profile, address_bytes, cpu_s]) = words.as_deref() else {
        return Err("this verb is for the gateway itself: OUT PROFILE ADDRESS_BYTES CPU_S".to_owned().into());
    };
    let number = |text: &str| text.parse::<u64>().map_err(|_| format!("{text} is not a number"));
    limit(number(address_bytes)?, number(cpu_s)?).map_err(|e| format!("cannot limit the compiler: {e}"))?;
    let file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(out);
    let file = file.map_err(|e| Ended { code: CANNOT_WRITE, why: e.to_string() })?;
    let walls = confine();
    let _ = writeln!(io::stderr(), "{WALLS}{walls}"); // the parent reads it; without a parent there is nobody
    if *profile == ASK_WALLS {
        return Ok((walls.words().into_bytes(), file));
    }
    if *profile == BREAK_OUT {
        let tried = try_to_break_out(walls).iter().map(|(what, done)| format!("{what}: {done}\n")).collect::<String>();
        return Ok((tried.into_bytes(), file));
    }
    let mut component = Vec::new();
    io::stdin().take(COMPONENT_BYTES_MAX + 1).read_to_end(&mut component).map_err(|e| format!("cannot read the component: {e}"))?;
    Ok((code_of(profile, &component)?, file))
}

fn code_of(profile: &str, component: &[u8]) -> Result<Vec<u8>, String> {
    let profile: Profile = profile.parse().map_err(|()| format!("no profile {profile}"))?;
    if component.len() as u64 > COMPONENT_BYTES_MAX {
        return Err(format!("the component is larger than {COMPONENT_BYTES_MAX} bytes"));
    }
    let engine = compiling(profile).map_err(|e| format!("{e:#}"))?;
    engine.precompile_component(component).map_err(|e| format!("{e:#}"))
}

/// Before the first byte of the component is looked at.
fn limit(address_bytes: u64, cpu_s: u64) -> io::Result<()> {
    let set = |resource, soft, hard| setrlimit(resource, Rlimit { current: Some(soft), maximum: Some(hard) }).map_err(io::Error::from);
    set(Resource::As, address_bytes, address_bytes)?;
    set(Resource::Cpu, cpu_s, cpu_s + 1)?;
    set(Resource::Fsize, CODE_BYTES_MAX, CODE_BYTES_MAX)?;
    set(Resource::Core, 0, 0) // a dump of hostile input is of no use on a card
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_compiler_lacks_is_what_it_does_not_say() {
        let around = |words: &str, own_user| Around::of(words, own_user);
        assert_eq!(around("seccomp landlock", true).lacks, Vec::<&str>::new());
        assert_eq!(around("seccomp landlock", false).missing(false), Vec::<&str>::new(), "a desk has no other user");
        assert_eq!(around("seccomp landlock", false).missing(true), [OWN_USER]);
        assert_eq!(around("landlock", true).missing(false), [SECCOMP]);
        assert_eq!((around("", false).missing(true).len(), around("", false).in_words()), (3, "nothing".into()));
        assert_eq!(around("landlock", true).in_words(), "landlock, a user of its own");
    }
}
