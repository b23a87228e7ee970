//! The proof: one binary, a file a subject.

mod capture;
mod cloud;
mod command;
mod faults;
mod flushed;
mod golden;
mod links;
mod reload;
mod sandbox;
mod store;
mod supervision;
mod tidy;
mod uplink;
mod ward;
mod wire;
