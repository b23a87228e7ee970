//! The proof: one binary, a file a subject.

mod capture;
mod cloud;
mod faults;
mod flushed;
mod golden;
mod links;
mod sandbox;
mod small;
mod store;
mod tidy;
mod uplink;
mod ward;
mod wire;
