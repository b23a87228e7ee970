//! The far end: receives what gateways send, keeps it, acknowledges it, and writes it down for people and machines.
//!
//! network (`receive`) -> who sent it (`intake`) -> what it means for what is held (`ledger`, pure) -> the raw log (`log`, flushed)
//! -> acknowledgement -> lines (`derive`, pure) -> files (`output`). `keeper` walks that way; nothing below it knows the network.

pub mod decode;
pub mod derive;
pub mod desk;
pub mod gaps;
pub mod intake;
pub mod keeper;
pub mod keys;
pub mod ledger;
pub mod log;
pub mod output;
pub mod ranges;
pub mod receive;
pub mod show;
pub mod status;
#[cfg(test)]
mod testing;
pub mod time;
pub mod walk;

#[cfg(test)]
mod keeper_tests;
