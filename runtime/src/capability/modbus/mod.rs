//! Modbus: what an instance may ask ([`Grant`]), how it asks ([`Handle`]), and the one owner of the line ([`Bus`]).

mod bus;
mod desk;
mod exchange;
mod grant;
mod handle;
mod line;
mod members;

pub use bus::{Bus, BusError};
pub use grant::{Grant, GrantError, ROOM_MAX, Refusal};
pub use handle::{Ask, Handle};
pub use members::Members;
