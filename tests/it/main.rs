//! The proof: one binary, a file a subject.

mod arm;
mod author;
mod bad_line;
mod capture;
mod cloud;
mod command;
mod faults;
mod flushed;
mod golden;
mod hints;
mod kills;
mod kills_disk;
mod links;
mod maps;
mod refusals;
mod reload;
mod sandbox;
mod seeing;
mod small;
mod store;
mod supervision;
mod tidy;
mod uplink;
mod ward;
mod wire;
