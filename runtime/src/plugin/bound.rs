//! The most that a package asks of one link, read: it bounds whatever a site grants of it.

use crate::capability::{Part, ble, modbus, serial};
use crate::config::{Grants, Link};
use crate::contract::printable;

pub enum Bound {
    Modbus(modbus::Grant),
    Serial(serial::Grant),
    Ble(ble::Grant),
}

impl Bound {
    /// Of a line as it stands below `[asks.LINK]`. The error: why it is no grant of that link.
    pub fn read(link: Link, text: &str) -> Result<Self, String> {
        Self::of(link, &Grants::read(text)?)
    }

    /// Of what somebody grants.
    pub fn of(link: Link, grants: &Grants) -> Result<Self, String> {
        let wrong = |e: crate::capability::GrantError| format!("{}: {}", e.key, e.why);
        let nothing = || format!("it grants nothing of {link}");
        match link {
            Link::Modbus => modbus::Grant::new("", grants.modbus.as_ref().ok_or_else(nothing)?).map(Self::Modbus).map_err(wrong),
            Link::Serial => serial::Grant::new("", grants.serial.as_ref().ok_or_else(nothing)?).map(Self::Serial).map_err(wrong),
            Link::Ble => ble::Grant::new("", grants.ble.as_ref().ok_or_else(nothing)?).map(Self::Ble).map_err(wrong),
        }
    }

    /// What the other holds and this one does not; of Modbus what changes a device, because what is read is the site's.
    pub fn lacks(&self, other: &Self) -> Vec<Part> {
        match (self, other) {
            (Self::Modbus(mine), Self::Modbus(other)) => mine.lacks(other),
            (Self::Serial(mine), Self::Serial(other)) => mine.lacks(other),
            (Self::Ble(mine), Self::Ble(other)) => mine.lacks(other),
            _ => Vec::new(), // of one link both
        }
    }

    /// How the other has its line, where this one has it otherwise.
    pub fn set_otherwise(&self, other: &Self) -> Vec<Part> {
        match (self, other) {
            (Self::Serial(mine), Self::Serial(other)) => mine.set_otherwise(other),
            _ => Vec::new(), // no other link is set here
        }
    }

    /// By what a manifest may say what its plugin does without a part.
    pub fn keys(&self) -> Vec<String> {
        match self {
            Self::Modbus(_) => Vec::new(),
            Self::Serial(grant) => grant.keys(),
            Self::Ble(grant) => grant.keys(),
        }
    }

    /// What may be done, and not to whom, which only a site can say. On one line.
    pub fn in_words(&self) -> String {
        let words = match self {
            Self::Modbus(grant) => grant.changes_in_words(),
            Self::Serial(grant) => grant.writes_in_words(),
            Self::Ble(grant) => grant.may_in_words(),
        };
        printable(&words, usize::MAX) // what a manifest may say is bounded, and a cut would hide what it asks for
    }
}
