//! The receiver's one worker: takes messages from the network's queue in groups and walks each through the keeper's steps.
//!
//! It has a thread of its own, as it waits for disks. When a disk refuses, it tries again and takes nothing meanwhile: the queue fills, the
//! network stops reading, and the gateways keep what they have.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, mpsc};

use crate::intake::Incoming;
use crate::keeper::{GROUP_BYTES_MAX, GROUP_MESSAGES_MAX, KeepError, Keeper};
use crate::output::replace;
use crate::status::{Around, status};
use crate::time::Now;

/// First wait after a disk refused; doubles.
const RETRY_MIN_MS: u64 = 100;
/// A full disk is looked at again this often.
const RETRY_MAX_MS: u64 = 5_000;

pub enum Item {
    /// With its share of the queue's bytes, given back when it is stored.
    Message(Incoming, OwnedSemaphorePermit),
    /// A second went by.
    Tick,
}

/// What the desk shares with the network side.
#[derive(Default)]
pub struct Signals {
    pub connected: AtomicBool,
    pub stop: AtomicBool,
}

pub struct Desk {
    pub keeper: Keeper,
    pub queue: mpsc::Receiver<Item>,
    /// Gateway and payload.
    pub answers: mpsc::Sender<(String, Vec<u8>)>,
    pub signals: Arc<Signals>,
    pub clock: fn() -> Now,
    pub status_file: Option<PathBuf>,
    pub around: Around,
}

/// Why the desk gave up.
enum Refused {
    Stopped,
    Broken(KeepError),
}

impl Desk {
    /// Until the queue is closed and empty. Everything taken from it is stored then, or still with its gateway.
    pub fn run(mut self) -> Result<(), KeepError> {
        let done = loop {
            let Some(first) = self.queue.blocking_recv() else { break Ok(()) };
            if let Err(why) = self.serve(first) {
                break Err(why);
            }
        };
        match done {
            Ok(()) | Err(Refused::Stopped) => {}
            Err(Refused::Broken(why)) => return Err(why),
        }
        let now = (self.clock)();
        let last = self.keeper.checkpoint(now, true);
        self.show();
        last
    }

    fn serve(&mut self, first: Item) -> Result<(), Refused> {
        let (mut messages, mut permits, mut bytes, mut tick) = (Vec::new(), Vec::new(), 0, false);
        let mut next = Some(first);
        while let Some(item) = next {
            match item {
                Item::Message(incoming, permit) => {
                    bytes += incoming.payload.len();
                    messages.push(incoming);
                    permits.push(permit);
                }
                Item::Tick => tick = true,
            }
            let room = messages.len() < GROUP_MESSAGES_MAX && bytes < GROUP_BYTES_MAX;
            next = room.then(|| self.queue.try_recv().ok()).flatten();
        }
        if !messages.is_empty() {
            let mut group = self.keeper.admit(messages);
            self.insist(|keeper| keeper.store(&mut group))?;
            for (gateway, answer) in self.keeper.answers(&group) {
                tracing::debug!(%gateway, bytes = answer.len(), "acknowledging");
                let sent = self.answers.try_send((gateway.to_string(), answer));
                self.around.answers_dropped += u64::from(sent.is_err()); // its batches come again, and are answered again
            }
            let lines = self.keeper.derive(group).map_err(Refused::Broken)?;
            let clock = self.clock;
            self.insist(|keeper| keeper.write(&lines, clock()))?;
        }
        drop(permits);
        let now = (self.clock)();
        if tick {
            if let Some(lines) = self.insist(|keeper| keeper.pass(now))? {
                self.insist(|keeper| keeper.write(&lines, now))?;
            }
            self.insist(Keeper::show_lost)?;
            self.show();
        }
        self.insist(|keeper| keeper.checkpoint(now, false))
    }

    /// The same step until it succeeds; a batch that cannot be read back is not a matter of trying again.
    fn insist<T>(&mut self, mut step: impl FnMut(&mut Keeper) -> Result<T, KeepError>) -> Result<T, Refused> {
        let mut wait_ms = RETRY_MIN_MS;
        loop {
            match step(&mut self.keeper) {
                Ok(value) => {
                    if self.around.trouble.take().is_some() {
                        tracing::info!("the disk takes data again");
                    }
                    return Ok(value);
                }
                Err(why @ KeepError::Walk(_)) => return Err(Refused::Broken(why)),
                Err(why) => {
                    tracing::error!(%why, again_in_ms = wait_ms, "nothing is acknowledged until this succeeds");
                    self.around.trouble = Some(why.to_string());
                }
            }
            self.show();
            if self.signals.stop.load(Ordering::Relaxed) {
                return Err(Refused::Stopped);
            }
            std::thread::sleep(Duration::from_millis(wait_ms));
            wait_ms = (wait_ms * 2).min(RETRY_MAX_MS);
        }
    }

    fn show(&mut self) {
        let Some(path) = &self.status_file else { return };
        self.around.connected = self.signals.connected.load(Ordering::Relaxed);
        let bytes = serde_json::to_vec_pretty(&status(&self.keeper, &self.around, (self.clock)())).expect("text keys and numbers");
        if let Err(why) = replace(path, &bytes, false) {
            tracing::warn!(path = %path.display(), %why, "cannot write the status file");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::Value as Json;
    use tokio::sync::Semaphore;
    use wardgate_wire::split;

    use super::*;
    use crate::intake::Intake;
    use crate::testing::Folder;
    use crate::testing::gateway::{Gateway, WALL_NS};

    //= PROMISES.md#P73
    #[test]
    fn what_is_dropped_and_refused_is_counted() {
        let dir = Folder::new("desk");
        let mut gateways = ["ward-1", "ward-2", "stranger"].map(|id| Gateway::new(id, 7));
        let keys = gateways[..2].iter().map(|g| (g.id.clone(), g.key.clone())).collect();
        let keeper =
            Keeper::open(&dir, Intake::new(keys, "wardgate/1"), i64::MAX, Now { wall_ns: WALL_NS, monotonic_ns: 0 }).expect("opens");
        let (room, (queue, items)) = (Arc::new(Semaphore::new(1 << 20)), mpsc::channel(1024));
        let put = |topic: String, payload: Vec<u8>| {
            let permit = room.clone().try_acquire_many_owned(1).expect("room");
            let sent = queue.try_send(Item::Message(Incoming { topic, payload, received_ns: WALL_NS }, permit));
            assert!(sent.is_ok(), "room");
        };
        for g in &mut gateways {
            (0..5).for_each(|_| g.emit(1, true));
            g.commit(false);
            for ((_, key), (_, bytes)) in &g.held {
                let class = key.class;
                for payload in split(bytes, 1 << 20, &g.key).expect("splits") {
                    put(format!("wardgate/1/{}/up/{class}", g.id), payload);
                }
            }
        }
        put("wardgate/1/ward-1/up/numeric".into(), b"nonsense".to_vec());
        drop(queue);
        // two gateways are answered, and there is room for one answer
        let (answers, mut to_send) = mpsc::channel(1);
        let (clock, file): (fn() -> Now, _) = (|| Now { wall_ns: WALL_NS, monotonic_ns: 1 }, dir.join("status.json"));
        let (signals, around) = (Arc::default(), Around::default());
        Desk { keeper, queue: items, answers, signals, clock, status_file: Some(file.clone()), around }.run().expect("ends in order");
        assert!(to_send.try_recv().is_ok() && to_send.try_recv().is_err());

        let status: Json = serde_json::from_slice(&std::fs::read(file).expect("written")).expect("JSON");
        assert_eq!(status["answers_dropped"], 1, "{status:#}");
        assert_eq!(status["refused"]["ward-1"]["malformed"], 1, "{status:#}");
        assert!(status["refused"]["stranger"]["unknown"].as_u64() > Some(0), "{status:#}");
        for known in ["ward-1", "ward-2"] {
            assert!(status["gateways"][known]["batches"].as_u64() > Some(0), "what is stored is stored, answered or not: {status:#}");
        }
        assert_eq!((&status["unexplained"], &status["damaged_bytes"]), (&Json::from(0), &Json::from(0)), "{status:#}");
    }
}
