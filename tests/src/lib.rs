//! Harness, simulators and the embedded broker: what the tests and the demo ward share. Nothing shipped links it.

// A harness drives processes from outside: it reads the clock and starts tasks of its own.
#![allow(clippy::disallowed_methods)]

pub mod accountant;
pub mod broker;
pub mod demo;
pub mod guest;
pub mod layout;
pub mod mosquitto;
pub mod neighbours;
pub mod oci;
pub mod ports;
pub mod process;
pub mod proxy;
pub mod pty;
pub mod serve;
pub mod sim;
pub mod stage;
pub mod summary;
pub mod table;
pub mod terminal;
pub mod tiny;
pub mod ward;
