//! The commands that people gave an instance and that it has not answered. They outlive its runs: a command that a crash left open is delivered
//! again with the same id, and a plugin that acted on it answers from what it kept.

use std::collections::BTreeMap;

use tokio::sync::oneshot;

use crate::contract::types::{Problem, Tag};
use crate::contract::{Event, printable};
use crate::fault::{Fault, Guilty};

const COMMANDS_OPEN_MAX: usize = 16; // a person gives them, one at a time
/// A command that ends the run each time it is heard must not end in quarantine what works without it.
const DELIVERIES_MAX: u32 = 3;
const DETAIL_BYTES_MAX: usize = 300; // two lines on a terminal

/// What a person asks of a plugin.
#[derive(Debug)]
pub struct Command {
    /// Chosen by the gateway; the same one again asks for the same answer, not for the same deed.
    pub id: String,
    pub name: String,
    pub argument: Vec<u8>,
    pub answer: oneshot::Sender<Result<Vec<u8>, Fault>>,
}

#[derive(Debug)]
struct Open {
    command: Command,
    /// To how many runs it was told.
    deliveries: u32,
    /// The present run has heard it.
    heard: bool,
    /// Said by a call that kept something, and not yet on flash: the ticket that bears it, and the answer.
    said: Option<(Tag, Result<Vec<u8>, Fault>)>,
}

#[derive(Debug, Default)]
pub struct Commands {
    /// Tags are the gateway's own here, as the contract says.
    next: Tag,
    open: BTreeMap<Tag, Open>,
}

impl Commands {
    pub(super) fn take(&mut self, command: Command) {
        if let Some(open) = self.open.values_mut().find(|open| open.command.id == command.id) {
            open.command = command; // asked again, because the way by which the answer would have come was lost; the plugin has it in hand
            return;
        }
        // one whose asker has gone is not told any more; told, it may still be answered, until there is need of its place
        self.open.retain(|_, open| open.deliveries > 0 || !open.command.answer.is_closed());
        if self.open.len() >= COMMANDS_OPEN_MAX
            && let Some(tag) = self.open.iter().find(|(_, open)| open.command.answer.is_closed()).map(|(tag, _)| *tag)
        {
            self.open.remove(&tag);
        }
        if self.open.len() >= COMMANDS_OPEN_MAX {
            refuse(command, format!("{COMMANDS_OPEN_MAX} commands wait for their answers"), "wait until they are answered, and try again");
        } else {
            self.open.insert(self.next, Open { command, deliveries: 0, heard: false, said: None });
            self.next = self.next.wrapping_add(1);
        }
    }

    /// The next one that the present run has not heard.
    pub(super) fn deliver(&mut self) -> Option<Event> {
        let (tag, open) = self.open.iter_mut().find(|(_, open)| !open.heard)?;
        (open.heard, open.deliveries) = (true, open.deliveries + 1);
        let Command { id, name, argument, .. } = &open.command;
        tracing::info!(%id, name, deliveries = open.deliveries, "command");
        Some(Event::Command { tag: *tag, id: id.clone(), name: name.clone(), argument: argument.clone() })
    }

    /// The plugin answered. `ticket`: what the same call kept is not on flash yet, and until it is the deed could be undone by a power cut.
    pub(super) fn answered(&mut self, tag: Tag, outcome: Result<Vec<u8>, Problem>, ticket: Option<Tag>) {
        let outcome = outcome.map_err(|problem| {
            let detail = printable(&problem.detail, DETAIL_BYTES_MAX);
            Fault::new(
                Guilty::Plugin,
                format!("the plugin did not do it: {detail}"),
                "the device's manual or the plugin's README may say more",
            )
        });
        let Some(open) = self.open.get_mut(&tag) else {
            tracing::debug!(tag, "an answer to no command");
            return;
        };
        match ticket {
            Some(ticket) => open.said = Some((ticket, outcome)),
            None => self.give(tag, outcome),
        }
    }

    /// This ticket is on flash. False: it is none of these.
    pub(super) fn on_flash(&mut self, ticket: Tag) -> bool {
        let bears = |open: &Open| open.said.as_ref().is_some_and(|(t, _)| *t == ticket);
        let borne: Vec<Tag> = self.open.iter().filter(|(_, open)| bears(open)).map(|(tag, _)| *tag).collect();
        for tag in &borne {
            if let Some((_, outcome)) = self.open.get_mut(tag).and_then(|open| open.said.take()) {
                self.give(*tag, outcome);
            }
        }
        !borne.is_empty()
    }

    fn give(&mut self, tag: Tag, outcome: Result<Vec<u8>, Fault>) {
        if let Some(Open { command, .. }) = self.open.remove(&tag) {
            tracing::info!(id = command.id, name = command.name, done = outcome.is_ok(), "command answered");
            let _ = command.answer.send(outcome); // who asked may have gone; the same id again brings the answer again
        }
    }

    /// What was not answered is told again to the next run. `taken_back`: also what was answered by a call that counts for nothing.
    pub(super) fn run_ended(&mut self, taken_back: bool) {
        let mut fatal = Vec::new();
        for (tag, open) in &mut self.open {
            if taken_back {
                open.said = None;
            }
            open.heard = open.said.is_some();
            if !open.heard && open.deliveries >= DELIVERIES_MAX {
                fatal.push(*tag);
            }
        }
        for open in fatal.into_iter().filter_map(|tag| self.open.remove(&tag)) {
            let what = format!("the plugin failed {DELIVERIES_MAX} times while it had this command in hand; it is not told again");
            refuse(open.command, what, "`wardgate status` shows the fault; report it to the plugin's vendor");
        }
    }

    /// Nobody will hear them for now. Those that were answered already get their answer.
    pub(super) fn refuse_all(&mut self, what: &str, remedy: &str) {
        let (said, unheard) = std::mem::take(&mut self.open).into_iter().partition(|(_, open)| open.said.is_some());
        self.open = said;
        for open in BTreeMap::into_values(unheard) {
            refuse(open.command, what.to_owned(), remedy);
        }
    }
}

fn refuse(command: Command, what: String, remedy: &str) {
    let _ = command.answer.send(Err(Fault::new(Guilty::Plugin, what, remedy)));
}

#[cfg(test)]
mod tests {
    use super::*;

    type Answer = oneshot::Receiver<Result<Vec<u8>, Fault>>;

    fn command(id: &str) -> (Command, Answer) {
        let (answer, comes) = oneshot::channel();
        (Command { id: id.into(), name: "zero".into(), argument: vec![1], answer }, comes)
    }

    fn tag(event: Option<Event>) -> Tag {
        let Some(Event::Command { tag, .. }) = event else { panic!("{event:?}") };
        tag
    }

    fn says(mut answer: Answer) -> String {
        match answer.try_recv().expect("answered") {
            Ok(bytes) => String::from_utf8(bytes).unwrap(),
            Err(fault) => fault.what,
        }
    }

    #[test]
    fn each_is_told_once_a_run_and_again_after_a_crash_with_the_same_id() {
        let mut c = Commands::default();
        let (a, answer) = command("a");
        c.take(a);
        let first = tag(c.deliver());
        assert_eq!(c.deliver(), None);
        c.run_ended(false);
        let Some(Event::Command { tag, id, .. }) = c.deliver() else { panic!("not told again") };
        assert_eq!((tag, id.as_str()), (first, "a"));
        c.answered(tag, Ok(b"done".to_vec()), None);
        assert_eq!(says(answer), "done");
        c.run_ended(false);
        assert_eq!(c.deliver(), None);
    }

    #[test]
    fn an_answer_waits_for_the_flash_that_bears_what_was_kept_with_it() {
        let mut c = Commands::default();
        let (a, mut answer) = command("a");
        c.take(a);
        let tag = tag(c.deliver());
        c.answered(tag, Ok(b"done".to_vec()), Some(7));
        assert!(answer.try_recv().is_err());
        c.run_ended(false);
        assert_eq!(c.deliver(), None, "it is answered, whatever becomes of the run");
        assert!(!c.on_flash(8) && c.on_flash(7) && !c.on_flash(7));
        assert_eq!(says(answer), "done");
    }

    #[test]
    fn an_answer_that_the_pipeline_took_back_is_asked_for_again() {
        let mut c = Commands::default();
        let (a, mut answer) = command("a");
        c.take(a);
        let tag = tag(c.deliver());
        c.answered(tag, Ok(vec![]), Some(7));
        c.run_ended(true);
        assert!(c.deliver().is_some() && !c.on_flash(7));
        assert!(answer.try_recv().is_err());
    }

    #[test]
    fn a_command_that_kills_is_told_three_times() {
        let mut c = Commands::default();
        let (a, answer) = command("a");
        c.take(a);
        for _ in 0..DELIVERIES_MAX {
            assert!(c.deliver().is_some());
            c.run_ended(false);
        }
        assert_eq!(c.deliver(), None);
        assert!(says(answer).contains("failed 3 times"));
    }

    #[test]
    fn who_asks_again_by_the_same_id_gets_the_one_answer() {
        let mut c = Commands::default();
        let ((a, lost), (again, answer)) = (command("a"), command("a"));
        c.take(a);
        let told = tag(c.deliver());
        drop(lost);
        c.take(again);
        assert_eq!(c.deliver(), None, "it may be doing it just now: told again, it might do it twice");
        c.answered(told, Ok(b"done".to_vec()), None);
        assert_eq!(says(answer), "done");
    }

    #[test]
    fn there_is_a_limit_and_those_whose_asker_went_before_they_were_told_do_not_count() {
        let mut c = Commands::default();
        let waiting: Vec<_> = (0..COMMANDS_OPEN_MAX).map(|n| command(&n.to_string())).collect();
        let (commands, answers): (Vec<_>, Vec<_>) = waiting.into_iter().unzip();
        commands.into_iter().for_each(|one| c.take(one));
        let (more, answer) = command("more");
        c.take(more);
        assert!(says(answer).contains("16 commands wait"));
        assert!(c.deliver().is_some());
        drop(answers);
        let (more, mut answer) = command("more");
        c.take(more);
        assert!(answer.try_recv().is_err() && c.open.len() == 2, "the one that was told, and this one");
        c.refuse_all("it is quarantined", "");
        assert_eq!(says(answer), "it is quarantined");
    }
}
