//! Modbus: what an instance may ask ([`Grant`]), how it asks ([`Handle`]), and the one owner of the line ([`Bus`]).

mod admission;
mod ascii;
mod aside;
mod bus;
mod desk;
mod exchange;
mod frame;
mod grant;
mod handle;
mod line;
mod members;
mod settings;

pub use admission::{Cycle, Overload, Refused, Transaction, admit};
pub use bus::Bus;
pub use grant::{Grant, GrantError, ROOM_MAX, Refusal};
pub use handle::{Ask, Handle};
pub use members::Members;
pub use settings::{BusError, target};
