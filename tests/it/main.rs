//! The proof: one binary, a file a subject.

mod author;
mod capture;
mod cloud;
mod faults;
mod flushed;
mod golden;
mod hints;
mod kills;
mod kills_disk;
mod links;
mod maps;
mod refusals;
mod sandbox;
mod seeing;
mod store;
mod tidy;
mod uplink;
mod ward;
mod wire;
