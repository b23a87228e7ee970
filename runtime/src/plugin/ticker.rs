//! The call-deadline ticker: it counts while a guest call runs and sleeps otherwise, so that an idle gateway does not wake for it.

use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use wasmtime::Engine;

use crate::contract::TICK_MS;

const TICK: Duration = Duration::from_millis(TICK_MS);

/// A call adds one to `running` and then looks at `asleep`; the ticker says `asleep` and then looks at `running`. Both in one order for all
/// threads, so one of the two sees the other, and a call takes no lock.
#[derive(Default)]
struct Shared {
    /// Guest calls that run now.
    running: AtomicU32,
    /// Nobody has woken it.
    asleep: AtomicBool,
    ticks: AtomicU64,
    stop: Mutex<bool>,
    wake: Condvar,
}

pub(super) struct Ticker {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// The ticker ticks while one of these lives.
pub(super) struct Ticking<'a>(&'a Shared);

impl Ticker {
    pub(super) fn start(engine: Engine) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let theirs = shared.clone();
        let thread = std::thread::Builder::new().name("call-deadline".into()).spawn(move || tick(&theirs, &engine))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    pub(super) fn during_call(&self) -> Ticking<'_> {
        self.shared.running.fetch_add(1, SeqCst);
        if self.shared.asleep.load(SeqCst) && self.shared.asleep.swap(false, SeqCst) {
            let _awaits = self.shared.lock(); // it holds this from `asleep` until it waits
            self.shared.wake.notify_one(); // once: it needs longer to wake than a call takes
        }
        Ticking(&self.shared)
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, bool> {
        self.stop.lock().expect("no holder panics")
    }
}

impl Drop for Ticking<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, SeqCst);
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        *self.shared.lock() = true;
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // it cannot panic, and there is nobody to tell
        }
    }
}

fn tick(shared: &Shared, engine: &Engine) {
    let mut stop = shared.lock();
    while !*stop {
        if shared.running.load(SeqCst) == 0 {
            shared.asleep.store(true, SeqCst);
            if shared.running.load(SeqCst) == 0 {
                stop = shared.wake.wait(stop).expect("no holder panics");
            }
            continue; // the call that woke it may be over: then it sleeps anew, and can be woken anew
        }
        shared.asleep.store(false, SeqCst);
        // Nobody wakes it early but a stop: short calls one after another cost no more than this one wake-up a tick.
        stop = shared.wake.wait_timeout_while(stop, TICK, |stop| !*stop).expect("no holder panics").0;
        if shared.running.load(SeqCst) > 0 {
            shared.ticks.fetch_add(1, Relaxed);
            engine.increment_epoch();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticks(t: &Ticker) -> u64 {
        t.shared.ticks.load(Relaxed)
    }

    fn wait_until(mut what: impl FnMut() -> bool) {
        while !what() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn calls_that_were_over_before_it_woke_leave_it_ready_for_the_next() {
        let t = Ticker::start(Engine::default()).unwrap();
        for _ in 0..100 {
            wait_until(|| t.shared.asleep.load(SeqCst));
            drop(t.during_call());
        }
        let long = t.during_call();
        wait_until(|| ticks(&t) >= 1);
        drop(long);
    }

    #[test]
    fn it_ticks_only_while_a_call_runs() {
        let t = Ticker::start(Engine::default()).unwrap();
        wait_until(|| t.shared.asleep.load(SeqCst));
        assert_eq!(ticks(&t), 0);
        let call = t.during_call();
        wait_until(|| ticks(&t) >= 3);
        let other = t.during_call();
        drop(call);
        let before = ticks(&t);
        wait_until(|| ticks(&t) >= before + 2);
        drop(other);
        // Asleep again without a call that ends its sleep: whatever time passes, no tick is counted.
        wait_until(|| t.shared.asleep.load(SeqCst));
        let before = ticks(&t);
        std::thread::sleep(TICK * 3);
        assert_eq!(ticks(&t), before);
    }
}
