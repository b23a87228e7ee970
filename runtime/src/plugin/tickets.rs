//! Tags of open requests. Outside, each request bears a ticket that is never used twice, so that an answer to what an earlier run of
//! the plugin asked can never be taken for an answer to this one.

use std::collections::BTreeMap;

use crate::contract::types::Tag;

#[derive(Debug, Default)]
pub(super) struct Tickets {
    next: Tag,
    open: BTreeMap<Tag, Tag>, // ticket -> the plugin's tag
}

impl Tickets {
    /// A ticket for a request, and that of an older one with the same tag, which is cancelled by it.
    pub(super) fn open(&mut self, tag: Tag) -> (Tag, Option<Tag>) {
        let older = self.cancel(tag);
        let ticket = self.blank();
        self.open.insert(ticket, tag);
        (ticket, older)
    }

    /// A ticket of the gateway's own, which no tag of the plugin has.
    pub(super) fn blank(&mut self) -> Tag {
        let ticket = self.next;
        self.next = self.next.wrapping_add(1); // after four billion requests the first is long answered
        ticket
    }

    /// The answer is here: whose was it? `None`: of a run that has ended, or cancelled.
    pub(super) fn close(&mut self, ticket: Tag) -> Option<Tag> {
        self.open.remove(&ticket)
    }

    pub(super) fn cancel(&mut self, tag: Tag) -> Option<Tag> {
        let ticket = self.open.iter().find(|(_, open)| **open == tag).map(|(ticket, _)| *ticket)?;
        self.open.remove(&ticket);
        Some(ticket)
    }

    pub(super) fn count(&self) -> usize {
        self.open.len()
    }

    /// The run has ended: nobody waits for these any more.
    pub(super) fn forget(&mut self) -> Vec<Tag> {
        std::mem::take(&mut self.open).into_keys().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_finds_its_run_or_nobody() {
        let mut t = Tickets::default();
        let (first, none) = t.open(5);
        assert_eq!((none, t.count()), (None, 1));
        let (second, older) = t.open(5);
        assert_eq!(older, Some(first), "the same tag again cancels the older request");
        assert_eq!((t.close(first), t.close(second), t.close(second)), (None, Some(5), None));
        let (third, _) = t.open(7);
        assert_eq!(t.forget(), [third]);
        let (fourth, _) = t.open(7);
        assert_eq!((t.close(third), t.cancel(7), t.close(fourth)), (None, Some(fourth), None));
    }
}
