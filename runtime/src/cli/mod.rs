//! The front door: a file per verb.

pub mod check;
pub mod command;
pub mod instance;
pub mod plugin;
pub mod reload;
pub mod run;
pub mod status;
