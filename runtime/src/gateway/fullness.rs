//! What the corridor does as the disk fills: it takes less, and says so; when there is room again it takes everything again.

use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use super::clock::moment;
use super::scribe::Scribe;
use crate::fault::{Fault, Guilty};
use crate::pipeline::Takes;
use crate::plugin::FromPipeline;
use crate::store::Room;

/// While not everything is taken: how soon room that somebody made is noticed. It costs one question to the file system.
const ROOM_LOOK_S: u64 = 1;
/// While not everything is taken nothing may be worth a group for hours, and what is not taken would belong to no one's gap if the power went:
/// so often the heads say that the gap goes on. Some hundred bytes each, out of a reserve of megabytes.
const HEADS_S: u64 = 60;

impl Scribe {
    pub(super) async fn look_at_room(&mut self) -> Result<(), Fault> {
        let mut store = self.store.take().expect("it is back after each try");
        let room;
        (store, room) = tokio::task::spawn_blocking(move || {
            let room = store.room();
            (store, room)
        })
        .await
        .map_err(|e| Fault::new(Guilty::Internal, format!("the store's thread ended: {e}"), "please report this"))?;
        self.store = Some(store);
        self.room_is(room).await;
        Ok(())
    }

    /// When to look again; `None`: after the next commit.
    pub(super) fn room_look_due(&self) -> Option<Instant> {
        (self.room > Room::Ample).then(|| self.looked + Duration::from_secs(ROOM_LOOK_S))
    }

    pub(super) async fn room_is(&mut self, room: Room) {
        self.looked = Instant::now();
        if room != self.room {
            self.room_changes(room);
        }
        self.status.store(|s| s.room = room.name().into());
        for (instance, kept) in self.pipeline.behind() {
            self.tell(&instance, FromPipeline::Behind { kept }).await;
        }
        for instance in self.backs.keys() {
            let not_taken = self.pipeline.not_taken(instance);
            if not_taken > 0 {
                self.status.instance(instance, |i| i.not_taken = not_taken);
            }
        }
    }

    fn room_changes(&mut self, room: Room) {
        let takes = match room {
            Room::Ample => Takes::Everything,
            Room::Low => Takes::NoWaveforms,
            Room::Reserve => Takes::AlertsOnly,
            Room::Spent => Takes::Nothing,
        };
        self.pipeline.take_only(takes, moment());
        self.no_room = self.store.as_ref().map(|s| s.no_room(room)).unwrap_or_default();
        if room > Room::Ample {
            warn!("{}", self.no_room);
        } else {
            info!("the store has room again: everything is taken");
        }
        self.room = room;
        self.status.store(|s| s.last_error.clone_from(&self.no_room));
    }

    /// Whether a group is to be written although nothing asks for it.
    pub(super) fn heads_are_due(&self) -> bool {
        (Room::Low..Room::Spent).contains(&self.room) && self.last_commit.elapsed() >= Duration::from_secs(HEADS_S)
    }

    /// With the reserve spent only a group that lets something be deleted can be written.
    pub(super) fn may_commit(&self) -> bool {
        self.room < Room::Spent || self.store.as_ref().is_some_and(|s| s.has_news() && s.could_free())
    }
}
