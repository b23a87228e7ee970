//! The engine that all plugins of this gateway run in: its features, its memory, and the ticker that ends calls that last too long.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::str::FromStr;
use std::sync::{Arc, Mutex, Weak};

use wasmtime::{Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

use super::instance::Prepared;
use super::ticker::Ticker;
use super::{Package, PluginError};
use crate::config::Link;

/// A ward gateway adapts a few dozen devices; 64 guarded memories take 260 GiB of addresses, and a Pi has 512.
pub const INSTANCES_MAX: u32 = 64;

pub(super) const MEMORY_BYTES_MAX: usize = 16 << 20; // the most that a manifest can ask for
const COMPACT_RESERVATION_BYTES: u64 = 64 << 20; // 64 of them fit where not even one guarded pool does
const COMPACT_GUARD_BYTES: u64 = 64 << 10; // one page of wasm: bounds are checked in code, this only catches the offset
const WASM_STACK_BYTES: usize = 512 << 10; // a decoder needs a few KiB
const CALL_STACK_BYTES: usize = 1 << 20; // the guest's and what the host adds in an import; addresses, not memory
const CALLS_AT_ONCE_MAX: u32 = INSTANCES_MAX + 1; // one each, and a package that is looked at before it runs
const FRAMES_MAX: NonZeroUsize = NonZeroUsize::new(20).unwrap(); // of a trap's backtrace
// A Rust adapter takes 3 core instances (itself and two shims), 2 tables and 1 memory.
const CORE_INSTANCES_PER_PLUGIN: u32 = 6;
const TABLES_PER_PLUGIN: u32 = 4;
const TABLE_ELEMENTS: usize = 20_000; // a Rust adapter has a few hundred functions in its table

/// How guest memory is laid out. It is baked into compiled code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// 4 GiB of addresses for each memory: no bounds checks in code.
    Guarded,
    /// 64 MiB of addresses for each: fits everywhere, and tight loops take up to twice as long.
    Compact,
}

impl Profile {
    pub fn name(self) -> &'static str {
        match self {
            Self::Guarded => "guarded",
            Self::Compact => "compact",
        }
    }
}

impl FromStr for Profile {
    type Err = ();
    fn from_str(name: &str) -> Result<Self, ()> {
        [Self::Guarded, Self::Compact].into_iter().find(|p| p.name() == name).ok_or(())
    }
}

/// The engine with its ticker. One for all instances.
pub struct Host {
    pub(super) engine: Engine,
    pub(super) ticker: Ticker,
    pub profile: Profile,
    /// What instances run now: twenty beds with one kind of monitor hold its code once.
    prepared: Mutex<Vec<Weak<Prepared>>>,
}

impl Host {
    /// The same package with the same links, if an instance of it lives.
    pub(super) fn alive(&self, package: &Package, site: &BTreeSet<Link>) -> Option<Arc<Prepared>> {
        let mut prepared = self.prepared.lock().expect("no holder panics");
        prepared.retain(|one| one.strong_count() > 0);
        prepared.iter().filter_map(Weak::upgrade).find(|one| one.is_of(package, site))
    }

    pub(super) fn remember(&self, one: &Arc<Prepared>) {
        self.prepared.lock().expect("no holder panics").push(Arc::downgrade(one));
    }

    /// Takes the faster profile when this machine has the addresses for it: the pool is reserved here and now, so nothing fails later.
    pub fn probe() -> Result<Self, PluginError> {
        match Self::with(Profile::Guarded) {
            Ok(host) => Ok(host),
            Err(why) => {
                tracing::warn!(%why, "the address space is too small for guarded memories: using the compact profile, with bounds checks");
                Self::with(Profile::Compact)
            }
        }
    }

    pub fn with(profile: Profile) -> Result<Self, PluginError> {
        let mut config = config(profile);
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool()));
        let engine = Engine::new(&config).map_err(|e| PluginError::Engine { profile, why: format!("{e:#}") })?;
        let ticker = Ticker::start(engine.clone()).map_err(|e| PluginError::Engine { profile, why: e.to_string() })?;
        Ok(Self { engine, ticker, profile, prepared: Mutex::default() })
    }
}

/// For the compiling child: the same code comes out, and no pool is reserved.
pub(super) fn compiling(profile: Profile) -> wasmtime::Result<Engine> {
    Engine::new(&config(profile))
}

fn config(profile: Profile) -> Config {
    let mut c = Config::new();
    c.wasm_component_model(true).wasm_memory64(false);
    // The same bits on every machine, or a recording is not a proof.
    c.cranelift_nan_canonicalization(true).wasm_relaxed_simd(false).relaxed_simd_deterministic(true);
    c.epoch_interruption(true);
    c.max_wasm_stack(WASM_STACK_BYTES).async_stack_size(CALL_STACK_BYTES);
    c.wasm_backtrace_max_frames(Some(FRAMES_MAX));
    if profile == Profile::Compact {
        c.memory_reservation(COMPACT_RESERVATION_BYTES)
            .memory_guard_size(COMPACT_GUARD_BYTES)
            .memory_reservation_for_growth(0)
            .memory_may_move(false);
    }
    c
}

fn pool() -> PoolingAllocationConfig {
    let mut p = PoolingAllocationConfig::new();
    p.total_component_instances(INSTANCES_MAX)
        .total_core_instances(INSTANCES_MAX * CORE_INSTANCES_PER_PLUGIN)
        .max_core_instances_per_component(CORE_INSTANCES_PER_PLUGIN)
        .total_memories(INSTANCES_MAX)
        .max_memories_per_component(1)
        .max_memory_size(MEMORY_BYTES_MAX)
        .total_tables(INSTANCES_MAX * TABLES_PER_PLUGIN)
        .max_tables_per_component(TABLES_PER_PLUGIN)
        .table_elements(TABLE_ELEMENTS)
        .total_stacks(CALLS_AT_ONCE_MAX);
    p
}
