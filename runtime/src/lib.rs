//! The gateway: device =bytes=> capability =WIT=> plugin =Reading=> pipeline =Batch=> store =entry=> uplink =payload=> cloud.
//!
//! The modules are rooms in the order in which data walks. ARCHITECTURE.md says which room may name which.

pub mod audit;
mod backoff;
pub mod capability;
pub mod cli;
pub mod config;
pub mod console;
mod contained;
pub mod contract;
pub mod fault;
pub mod gateway;
pub mod keys;
pub mod metrics;
pub mod pipeline;
pub mod plugin;
mod shared_file;
pub mod status;
pub mod store;
pub mod uplink;
pub mod when;
mod whose;
