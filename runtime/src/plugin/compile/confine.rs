//! The compiler's walls: once it has its input and its output open, it needs memory and nothing else. The kernel refuses it everything beside:
//! sockets, files, other processes, clocks that it could set. Where a kernel lacks a wall, the other one and the limits remain.

use std::collections::BTreeMap;
use std::fmt;

use landlock::{ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetStatus, Scope};
use seccompiler::{BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch};

/// What stands around this process now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Walls {
    pub system_calls: bool,
    pub files: bool,
}

impl Walls {
    /// For the gateway, which asks before it hands anything over.
    pub fn words(self) -> String {
        let words = [(self.system_calls, SECCOMP), (self.files, LANDLOCK)];
        words.iter().filter(|(stands, _)| *stands).map(|(_, word)| *word).collect::<Vec<_>>().join(" ")
    }
}

pub const SECCOMP: &str = "seccomp";
pub const LANDLOCK: &str = "landlock";

impl fmt::Display for Walls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.system_calls, self.files) {
            (true, true) => "seccomp and landlock",
            (true, false) => "seccomp",
            (false, true) => "landlock",
            (false, false) => "none: neither seccomp nor landlock is there, or something around this process refuses them",
        })
    }
}

/// Reading, writing and asking for memory; what the runtime of Rust and of C does at a start, at an end, and at an abort.
const ALLOWED: &[i64] = &[
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_close,
    libc::SYS_lseek,
    libc::SYS_fstat,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_brk,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_futex,
    libc::SYS_getrandom,
    libc::SYS_clock_gettime,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// For good: nothing inside takes a wall down again.
pub fn confine() -> Walls {
    let files = no_files().unwrap_or(false); // a kernel without it, or with it switched off
    let system_calls = filter().is_some_and(|program| seccompiler::apply_filter(&program).is_ok());
    Walls { system_calls, files }
}

fn no_files() -> Option<bool> {
    let abi = ABI::V6;
    let ruleset = Ruleset::default().set_compatibility(CompatLevel::BestEffort);
    let ruleset = ruleset.handle_access(AccessFs::from_all(abi)).ok()?.handle_access(AccessNet::from_all(abi)).ok()?;
    let status = ruleset.scope(Scope::from_all(abi)).ok()?.create().ok()?.restrict_self().ok()?;
    Some(status.ruleset != RulesetStatus::NotEnforced)
}

fn filter() -> Option<BpfProgram> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = ALLOWED.iter().map(|call| (*call, Vec::new())).collect();
    // an abort is a signal to oneself, and to nobody else
    let me = u64::from(rustix::process::getpid().as_raw_nonzero().get().cast_unsigned());
    let to_me = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, me).ok()?;
    rules.insert(libc::SYS_tgkill, vec![SeccompRule::new(vec![to_me]).ok()?]);
    let refused = SeccompAction::Errno(libc::EPERM.cast_unsigned());
    let architecture: TargetArch = std::env::consts::ARCH.try_into().ok()?;
    SeccompFilter::new(rules, refused, SeccompAction::Allow, architecture).ok()?.try_into().ok()
}

/// What a compiler that a hostile component had taken over would try next, tried inside the walls: each with what became of it. For tests.
pub fn try_to_break_out(walls: Walls) -> Vec<(&'static str, bool)> {
    let temporary = std::env::temp_dir().join(format!("wardgate-broke-out-{}", std::process::id()));
    let tried = [
        ("open a socket", std::net::UdpSocket::bind("127.0.0.1:0").is_ok()),
        ("connect to the network", std::net::TcpStream::connect("127.0.0.1:22").is_ok()),
        ("open a socket of this machine", std::os::unix::net::UnixDatagram::unbound().is_ok()),
        ("read a file", std::fs::File::open("/etc/passwd").is_ok()),
        ("write a file", std::fs::write(&temporary, b"x").is_ok()),
        ("look into a folder", std::fs::read_dir("/").is_ok()),
        ("start a program", std::process::Command::new("/bin/true").status().is_ok()),
        ("signal another process", rustix::process::test_kill_process(rustix::process::Pid::INIT).is_ok()),
        (
            "make its limits wider",
            rustix::process::setrlimit(rustix::process::Resource::As, rustix::process::Rlimit { current: None, maximum: None }).is_ok(),
        ),
    ];
    if walls == Walls::default() { Vec::new() } else { tried.into() }
}
