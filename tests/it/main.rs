//! The proof: one binary, a file a subject.

mod capture;
mod cloud;
mod faults;
mod flushed;
mod golden;
mod kills;
mod kills_disk;
mod links;
mod refusals;
mod sandbox;
mod store;
mod tidy;
mod uplink;
mod ward;
mod wire;
