//! The call-deadline ticker: it counts while a guest call runs and sleeps otherwise, so that an idle gateway does not wake for it.

use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use wasmtime::Engine;

use crate::contract::TICK_MS;

const TICK: Duration = Duration::from_millis(TICK_MS);

#[derive(Default)]
struct Count {
    /// Guest calls that run now.
    running: u32,
    /// Nobody has woken it.
    asleep: bool,
    stop: bool,
    ticks: u64,
}

#[derive(Default)]
struct Shared {
    count: Mutex<Count>,
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
        let mut count = self.shared.lock();
        count.running += 1;
        if std::mem::take(&mut count.asleep) {
            self.shared.wake.notify_one(); // once: it needs longer to wake than a call takes
        }
        Ticking(&self.shared)
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Count> {
        self.count.lock().expect("no holder panics")
    }
}

impl Drop for Ticking<'_> {
    fn drop(&mut self) {
        self.0.lock().running -= 1;
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // it cannot panic, and there is nobody to tell
        }
    }
}

fn tick(shared: &Shared, engine: &Engine) {
    let mut count = shared.lock();
    while !count.stop {
        if count.running == 0 {
            count.asleep = true;
            count = shared.wake.wait(count).expect("no holder panics");
            continue; // the call that woke it may be over: then it sleeps anew, and can be woken anew
        }
        // Nobody wakes it early but a stop: short calls one after another cost no more than this one wake-up a tick.
        count = shared.wake.wait_timeout_while(count, TICK, |c| !c.stop).expect("no holder panics").0;
        if count.running > 0 {
            count.ticks += 1;
            engine.increment_epoch();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticks(t: &Ticker) -> u64 {
        t.shared.lock().ticks
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
            wait_until(|| t.shared.lock().asleep);
            drop(t.during_call());
        }
        let long = t.during_call();
        wait_until(|| ticks(&t) >= 1);
        drop(long);
    }

    #[test]
    fn it_ticks_only_while_a_call_runs() {
        let t = Ticker::start(Engine::default()).unwrap();
        wait_until(|| t.shared.lock().asleep);
        assert_eq!(ticks(&t), 0);
        let call = t.during_call();
        wait_until(|| ticks(&t) >= 3);
        let other = t.during_call();
        drop(call);
        let before = ticks(&t);
        wait_until(|| ticks(&t) >= before + 2);
        drop(other);
        // Asleep again without a call that ends its sleep: whatever time passes, no tick is counted.
        wait_until(|| t.shared.lock().asleep);
        let before = ticks(&t);
        std::thread::sleep(TICK * 3);
        assert_eq!(ticks(&t), before);
    }
}
