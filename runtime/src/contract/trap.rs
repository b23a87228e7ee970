//! How a call into a plugin failed, in our own words: what happened, and the names of the guest's functions it happened in.

use std::fmt;

use wasmtime::WasmBacktrace;

use super::gateway::Level;
use super::host::{Log, OverMemory, OverQuota, OverTime};
use super::printable;
use super::types::Problem;

const FRAMES_MAX: usize = 12; // a decoder is not deeper
/// How names of functions begin in which a panic ends, after it left the plugin's own.
const PANICS: [&str; 6] = ["__rust", "std::panicking", "std::sys::", "std::process", "core::panicking", "rust_begin_unwind"];
const NAME_BYTES_MAX: usize = 160; // names are the plugin's, so bounded like all its text
const DETAIL_BYTES_MAX: usize = 300; // two lines of a log
const PANIC_BYTES_MAX: usize = 160; // its functions are to fit beside it
/// How names of functions begin that are no plugin author's own.
const WRAPPERS: [&str; 6] = ["wardgate_sdk::", "<wardgate_sdk::", "core::", "<core::", "alloc::", "wardgate:device/"];

/// A failed call: why, and what it logged before.
#[derive(Debug)]
pub struct Failed {
    pub why: CallError,
    pub logs: Vec<Log>,
}

impl Failed {
    pub(super) fn new(why: CallError, logs: Vec<Log>) -> Self {
        Self { why, logs }
    }
}

#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum CallError {
    #[error("{kind}{}", Frames(trace))]
    Trap {
        kind: Trap,
        /// Innermost first; empty when the component carries no names.
        trace: Vec<String>,
    },
    #[error("gave up: {}", printable(&.0.detail, DETAIL_BYTES_MAX))]
    Fatal(Problem),
    #[error("the gateway sent an event of a link that this plugin does not listen to; please report this fault of the gateway")]
    Deaf,
}

#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Trap {
    /// A Rust panic ends like this; a plugin that is built with the SDK logs its text last.
    #[error("panicked{}", .0.as_ref().map(|text| format!(": {}", printable(text, PANIC_BYTES_MAX))).unwrap_or_default())]
    Panic(Option<String>),
    #[error("used {used_ms} ms of processor time in one call, {max_ms} are allowed (manifest: limits.call_ms)")]
    Deadline { used_ms: u64, max_ms: u64 },
    #[error("said more in one call than the quota allows ({0})")]
    OverQuota(&'static str),
    #[error("asked for {asked_bytes} bytes of memory, {max_bytes} are allowed (manifest: limits.memory_mib)")]
    Memory { asked_bytes: usize, max_bytes: usize },
    #[error("ran out of stack")]
    Stack,
    #[error("touched memory that is not its own (in a Rust plugin most often a stack overflow)")]
    OutOfBounds,
    #[error("broke off: {0}")]
    Other(String),
}

#[derive(Debug, thiserror::Error)]
#[error("no such event interface")]
pub(super) struct Deaf;

pub(super) fn read(why: &wasmtime::Error, logs: &[Log]) -> CallError {
    if why.is::<Deaf>() {
        return CallError::Deaf;
    }
    CallError::Trap { kind: kind(why, logs), trace: why.downcast_ref::<WasmBacktrace>().map(names).unwrap_or_default() }
}

fn kind(why: &wasmtime::Error, logs: &[Log]) -> Trap {
    if let Some(over) = why.downcast_ref::<OverQuota>() {
        return Trap::OverQuota(over.0);
    }
    if let Some(over) = why.downcast_ref::<OverTime>() {
        return Trap::Deadline { used_ms: over.used_ms, max_ms: over.max_ms };
    }
    if let Some(over) = why.downcast_ref::<OverMemory>() {
        return Trap::Memory { asked_bytes: over.asked_bytes, max_bytes: over.max_bytes };
    }
    match why.downcast_ref::<wasmtime::Trap>() {
        Some(wasmtime::Trap::UnreachableCodeReached) => {
            Trap::Panic(logs.last().filter(|log| log.level == Level::Error).map(|log| log.text.clone()))
        }
        Some(wasmtime::Trap::StackOverflow) => Trap::Stack,
        Some(wasmtime::Trap::MemoryOutOfBounds) => Trap::OutOfBounds,
        Some(other) => Trap::Other(other.to_string()),
        // wasmtime has no type for it; a test holds that its words are still these
        None if why.root_cause().to_string().contains("fuel allocated for hostcalls") => {
            Trap::OverQuota("bytes in one call to the gateway")
        }
        None => Trap::Other(printable(&format!("{:#}", why.root_cause()), DETAIL_BYTES_MAX)),
    }
}

fn names(trace: &WasmBacktrace) -> Vec<String> {
    own(trace.frames().iter().filter_map(|frame| frame.func_name()).map(plain).collect())
}

/// Without the panic's own on top and the SDK's in between, so that a line of a log and of a status is long enough for the plugin's.
fn own(names: Vec<String>) -> Vec<String> {
    let panics = names.iter().take_while(|name| PANICS.iter().any(|begin| name.starts_with(begin))).count();
    let from = if panics < names.len() { panics } else { 0 };
    let authors = |name: &&String| !WRAPPERS.iter().any(|begin| name.starts_with(begin));
    let rest = if names[from..].iter().any(|name| authors(&name)) {
        names[from..].iter().filter(authors).collect()
    } else {
        names[from..].iter().collect::<Vec<_>>()
    };
    rest.into_iter().take(FRAMES_MAX).map(|name| printable(name, NAME_BYTES_MAX)).collect()
}

/// As it stands in the source: without the mangling and the hash that tell a person nothing.
fn plain(name: &str) -> String {
    rustc_demangle::try_demangle(name).map_or_else(|_| name.to_owned(), |demangled| format!("{demangled:#}"))
}

struct Frames<'a>(&'a [String]);

impl fmt::Display for Frames<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [] => Ok(()),
            frames => write!(f, ", in {}", frames.join(" < ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_shown_as_in_the_source() {
        assert_eq!(plain("_ZN7ivy450c6decode5frame17h0123456789abcdefE"), "ivy450c::decode::frame");
        assert_eq!(plain("_RNvCs1234_7mycrate3foo"), "mycrate::foo");
        assert_eq!(plain("ivy450c::decode::frame::h0123456789abcdef"), "ivy450c::decode::frame::h0123456789abcdef");
        assert_eq!(plain("decode_frame"), "decode_frame");
    }

    #[test]
    fn the_functions_of_a_panic_itself_are_left_out() {
        let names = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let whole = names(
            "__rustc::__rust_abort std::panicking::panic_with_hook __rustc::rust_begin_unwind core::panicking::panic_fmt pump::f std::panicking::g",
        );
        assert_eq!(own(whole), ["pump::f", "std::panicking::g"]);
        let wrapped =
            names("pump::line <wardgate_sdk::frame::Framer<F>>::feed pump::received wardgate:device/serial-events@0.1.0#received");
        assert_eq!(own(wrapped), ["pump::line", "pump::received"]);
        let nothing_else = names("__rustc::rust_panic std::panicking::panic_fmt");
        assert_eq!(own(nothing_else.clone()), nothing_else);
    }

    #[test]
    fn a_trap_is_told_with_its_functions() {
        let panic = |text: &str| CallError::Trap { kind: Trap::Panic(Some(text.into())), trace: vec!["pump::f".into()] }.to_string();
        assert_eq!(
            panic("no probe of kind\u{1b}[2J T"),
            format!("panicked: {}, in pump::f", printable("no probe of kind\u{1b}[2J T", 160))
        );
        assert_eq!(Trap::Panic(None).to_string(), "panicked");
        let e = CallError::Trap { kind: Trap::Stack, trace: vec!["inner".into(), "outer".into()] };
        assert_eq!(e.to_string(), "ran out of stack, in inner < outer");
    }
}
