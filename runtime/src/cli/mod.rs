//! The front door: a file per verb.

pub mod check;
pub mod plugin;
pub mod run;
pub mod status;
