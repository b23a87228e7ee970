//! What a process takes, from /proc: processor time in nanoseconds, sleeps, memory.

use std::collections::BTreeMap;
use std::fs;

/// Of each thread, also of those that ended since: processor nanoseconds, voluntary context switches.
#[derive(Clone, Default)]
pub struct Threads(BTreeMap<u32, (u64, u64)>);

impl Threads {
    /// Look often: what a thread does between the last look and its end is not seen.
    pub fn look(&mut self, process: u32) {
        for task in fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten() {
            let read = |file: &str| fs::read_to_string(task.path().join(file)).unwrap_or_default();
            let cpu = read("schedstat").split(' ').next().and_then(|ns| ns.parse().ok());
            let sleeps = number(&read("status"), "voluntary_ctxt_switches:");
            if let (Some(cpu), Some(sleeps), Ok(id)) = (cpu, sleeps, task.file_name().to_string_lossy().parse()) {
                self.0.insert(id, (cpu, sleeps));
            }
        }
    }

    pub fn cpu_ns(&self) -> u64 {
        self.0.values().map(|(cpu, _)| cpu).sum()
    }

    pub fn sleeps(&self) -> u64 {
        self.0.values().map(|(_, sleeps)| sleeps).sum()
    }
}

/// Resident and proportional set, MiB.
pub fn memory_mib(process: u32) -> (f64, f64) {
    let rollup = fs::read_to_string(format!("/proc/{process}/smaps_rollup")).unwrap_or_default();
    let mib = |key| number(&rollup, key).unwrap_or_default() as f64 / 1024.0;
    (mib("Rss:"), mib("Pss:"))
}

/// The number behind the line that begins with this word.
fn number(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key))?.split_whitespace().next()?.parse().ok()
}
