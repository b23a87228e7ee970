//! What a finished call brings about: first its data towards the pipeline, then what goes to devices, timers and status.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use super::channels::Links;
use super::commands::Commands;
use super::kept::Kept;
use super::rules::{Breach, DURABLE_WAITING_MAX};
use super::tickets::Tickets;
use super::timers::Timers;
use crate::capability::Flooded;
use crate::capability::ble::What;
use crate::contract::types::{Health, Moment, Tag, Value};
use crate::contract::{Event, Said, printable};
use crate::status::{InstanceStatus, Status};

const DETAIL_BYTES_MAX: usize = 300; // two lines of status

/// What is open on behalf of the running plugin. Ends with its run.
#[derive(Default)]
pub(super) struct Open {
    timers: Timers,
    durable: Tickets,
    /// `durable` that is to be told; each takes a ticket, so there are few.
    told: VecDeque<(Moment, Tag)>,
}

impl Open {
    /// Looked at before anything takes effect, because afterwards it would be too late to take it back.
    pub(super) fn admits(&self, said: &[Said]) -> Result<(), Breach> {
        let mut timers = self.timers.clone();
        let mut durable = BTreeSet::new();
        for one in said {
            match one {
                Said::SetTimer(tag, after_ms) => timers.set(*tag, 0, *after_ms)?,
                Said::CancelTimer(tag) => timers.cancel(*tag),
                Said::WhenDurable(tag) => drop(durable.insert(*tag)),
                _ => {}
            }
        }
        if self.durable.count() + durable.len() > DURABLE_WAITING_MAX { Err(Breach::Durable) } else { Ok(()) }
    }

    /// The pipeline has what bears this ticket on flash. Of a run that has ended, it is nobody's.
    pub(super) fn durable(&mut self, now: Moment, ticket: Tag) {
        if let Some(tag) = self.durable.close(ticket) {
            self.told.push_back((now, tag));
        }
    }

    pub(super) fn take_due(&mut self, now: Moment) -> Option<(Moment, Event)> {
        if let Some((moment, tag)) = self.told.pop_front() {
            return Some((moment, Event::Durable(tag)));
        }
        let (due_ns, tag) = self.timers.take_due(now.monotonic_ns)?;
        Some((Moment { monotonic_ns: due_ns, ..now }, Event::Timer(tag)))
    }

    /// What an indication brought is to be on flash at once: its peripheral was told already that it is here.
    pub(super) fn hurry(&mut self, said: &mut Vec<Said>) {
        let lasting = |one: &Said| matches!(one, Said::Emit(_) | Said::EmitWaveform(_) | Said::Raise(_) | Said::Keep(_));
        if said.iter().any(lasting) {
            said.push(Said::WhenDurable(self.durable.blank()));
        }
    }

    /// When a timer falls due; what was told is due since then.
    pub(super) fn next_due_ns(&self) -> u64 {
        match self.told.front() {
            Some((told, _)) => told.monotonic_ns,
            None => self.timers.next().map_or(u64::MAX, |(due, _)| due),
        }
    }

    /// When one of them must go off at the latest.
    pub(super) fn latest_ns(&self) -> u64 {
        if self.told.is_empty() { self.timers.latest_ns() } else { 0 }
    }

    /// The run has ended. What is asked of a device is forgotten by the inbox when it opens again.
    pub(super) fn end(&mut self) {
        self.timers.clear();
        self.durable.forget();
        self.told.clear();
    }
}

/// Whom effects reach.
pub(super) struct Around<'a> {
    pub instance: &'a Arc<str>,
    pub version: &'a str,
    pub links: &'a Links,
    pub status: &'a Status,
    /// Of the event.
    pub moment: Moment,
    pub now: Moment,
}

/// What a call said, by where it goes.
#[derive(Default)]
pub(super) struct Sorted {
    pub to_pipeline: Vec<Said>,
    pub kept: Option<Kept>,
    /// An answer to a command, and what was kept with it: the ticket that says that it is on flash.
    answer_on_flash: Option<Tag>,
    outward: Vec<Said>,
}

impl Around<'_> {
    /// Data for the pipeline; the rest for [`Around::carry_out`] once the data is on its way.
    pub(super) fn sort(&self, open: &mut Open, said: Vec<Said>) -> Sorted {
        let mut sorted = Sorted::default();
        for one in said {
            match one {
                Said::Keep(state) => {
                    let kept = Kept { by: self.version.to_owned(), state };
                    sorted.to_pipeline.push(Said::Keep(kept.to_bytes()));
                    sorted.kept = Some(kept);
                }
                Said::WhenDurable(tag) => sorted.to_pipeline.push(Said::WhenDurable(open.durable.open(tag).0)),
                Said::Describe(..) | Said::Identify(_) | Said::Emit(_) | Said::EmitWaveform(_) | Said::Missed(..) | Said::Raise(_) => {
                    sorted.to_pipeline.push(one);
                }
                _ => sorted.outward.push(one),
            }
        }
        if sorted.kept.is_some() && sorted.outward.iter().any(|one| matches!(one, Said::Answer(..))) {
            let ticket = open.durable.blank();
            sorted.to_pipeline.push(Said::WhenDurable(ticket));
            sorted.answer_on_flash = Some(ticket);
        }
        self.status.instance(self.instance, |status| count(status, &sorted.to_pipeline, self.moment));
        sorted
    }

    pub(super) fn carry_out(&self, open: &mut Open, commands: &mut Commands, sorted: Sorted) -> Result<(), Flooded> {
        for one in sorted.outward {
            match one {
                Said::SetTimer(tag, after_ms) => {
                    let set = open.timers.set(tag, self.now.monotonic_ns, after_ms);
                    debug_assert_eq!(set, Ok(()), "admitted before");
                }
                Said::CancelTimer(tag) => open.timers.cancel(tag),
                Said::Report(health, detail) => self.report(health, &detail),
                Said::Answer(tag, outcome) => commands.answered(tag, outcome, sorted.answer_on_flash),
                // What is not granted is not linked, so a component that asks for it was never admitted.
                Said::ModbusSubmit(tag, server, request) => {
                    self.links.modbus.as_ref().map_or(Ok(()), |bus| bus.submit(tag, server, request))?;
                }
                Said::ModbusCancel(tag) => {
                    if let Some(bus) = &self.links.modbus {
                        bus.cancel(tag);
                    }
                }
                Said::SerialWrite(tag, frame) => self.links.serial.as_ref().map_or(Ok(()), |port| port.write(tag, frame))?,
                Said::BleRead(tag, handle) => self.ask(tag, What::Read(handle))?,
                Said::BleWrite(tag, handle, bytes, with_response) => self.ask(tag, What::Write { handle, bytes, with_response })?,
                Said::BleSubscribe(tag, handle) => self.ask(tag, What::Subscribe(handle))?,
                Said::BleUnsubscribe(tag, handle) => self.ask(tag, What::Unsubscribe(handle))?,
                Said::Describe(..) | Said::Identify(_) | Said::Emit(_) | Said::EmitWaveform(_) | Said::Missed(..) => {}
                Said::Raise(_) | Said::Keep(_) | Said::WhenDurable(_) => {}
            }
        }
        Ok(())
    }

    fn ask(&self, tag: Tag, what: What) -> Result<(), Flooded> {
        self.links.ble.as_ref().map_or(Ok(()), |peripheral| peripheral.ask(tag, what))
    }

    fn report(&self, health: Health, detail: &str) {
        let state = match health {
            Health::Starting => "starting",
            Health::Healthy => "healthy",
            Health::Degraded => "degraded",
            Health::Failed => "failed",
        };
        let detail = printable(detail, DETAIL_BYTES_MAX);
        tracing::debug!(state, %detail, "health");
        self.status.instance(self.instance, |status| (status.state, status.detail) = (state.into(), detail));
    }
}

fn count(status: &mut InstanceStatus, said: &[Said], moment: Moment) {
    let mut newest = false;
    for one in said {
        match one {
            Said::Emit(observations) => {
                let readings = observations.iter().flat_map(|o| &o.readings);
                status.readings += readings.filter(|r| !matches!(r.value, Value::Absent(_))).count() as u64;
                newest = true;
            }
            Said::EmitWaveform(blocks) => {
                status.samples += blocks.iter().map(|b| b.counts.len() as u64).sum::<u64>();
                newest = true;
            }
            Said::Raise(_) => {
                status.alerts += 1;
                newest = true;
            }
            _ => {}
        }
    }
    if newest {
        status.newest_monotonic_ns = moment.monotonic_ns;
    }
}
