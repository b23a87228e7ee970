//! Between two runs of an instance: the wait before it is opened again, and the quarantine that only a person ends.

use std::future::pending;
use std::time::Duration;

use super::{DETAIL_BYTES_MAX, Supervisor};
use crate::contract::printable;
use crate::plugin::channels::Asked;
use crate::plugin::patience::{QUARANTINE_FAULTS, QUARANTINE_WITHIN_S, Verdict};

const QUARANTINED: &str = "the instance is quarantined, so nobody hears a command";

impl Supervisor {
    /// After a fault, of which `ran_ns` and `why` tell. False: it was told to stop meanwhile.
    pub(super) async fn between_runs(&mut self) -> bool {
        let now_ns = (self.wiring.clock)().monotonic_ns;
        let ran_ns = self.opened_ns.take().map_or(0, |opened| now_ns.saturating_sub(opened));
        let why = printable(&self.why, DETAIL_BYTES_MAX);
        match self.patience.after_fault(now_ns, ran_ns) {
            Verdict::OpenAfter(delay) => {
                let detail = format!("opens again after {:.1} s; {why}", delay.as_secs_f64());
                self.status(|s| (s.state, s.detail) = ("restarting".into(), detail));
                self.wait(Some(delay)).await
            }
            Verdict::Quarantine => {
                let (faults, within, remedy) = (QUARANTINE_FAULTS, QUARANTINE_WITHIN_S, self.way_out());
                tracing::error!(%why, "quarantined: {faults} faults in {within} s; {remedy}");
                let detail = format!("{faults} faults in {within} s; {remedy}; last: {why}");
                self.status(|s| (s.state, s.detail) = ("quarantined".into(), detail));
                self.commands.refuse_all(QUARANTINED, &remedy);
                self.wait(None).await
            }
        }
    }

    fn way_out(&self) -> String {
        format!("`wardgate instance restart {}` when mended", self.posting.instance)
    }

    /// Without a time only a person ends it. What became durable is heard, or the pipeline would wait for this instance.
    async fn wait(&mut self, time: Option<Duration>) -> bool {
        let over = async move {
            match time {
                Some(time) => tokio::time::sleep(time).await,
                None => pending().await,
            }
        };
        tokio::pin!(over);
        loop {
            if self.wiring.stop.borrow().is_some() {
                return false;
            }
            tokio::select! {
                () = &mut over => return true,
                gone = self.wiring.stop.changed() => if gone.is_err() { return false },
                Some(told) = self.wiring.back.recv() => self.hear(told),
                Some(asked) = self.wiring.asked.recv() => match asked {
                    Asked::Restart(answer) => {
                        tracing::info!("a person asks for a restart");
                        self.patience.forgive();
                        self.wiring.inbox.give_up_the_line(); // hours old, and maybe what ended it
                        self.restart_asked.push(answer);
                        return true;
                    }
                    Asked::Command(command) => {
                        self.commands.take(command);
                        if time.is_none() {
                            self.commands.refuse_all(QUARANTINED, &self.way_out());
                        }
                    }
                },
            }
        }
    }
}
