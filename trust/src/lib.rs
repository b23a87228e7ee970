//! The fleet's trust: who may make plugins for its gateways, in TUF's terms; and packages to and from registries. The gateway never links this.

mod bundle;
mod client;
mod clock;
mod desk;
pub mod fault;
mod files;
mod gateway;
mod keys;
mod package;
mod registry;
mod revocations;
mod role;
mod source;
mod state;
pub mod token;
pub mod verbs;
