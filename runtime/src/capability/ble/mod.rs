//! Bluetooth Low Energy: what an instance may ask of which peripheral ([`Grant`]), how it asks ([`Handle`]), the owner of the peripheral
//! ([`Peripheral`]), and the connection to BlueZ that all share ([`Radio`]).

mod agent;
mod bluez;
mod bonds;
mod grant;
mod handle;
mod peripheral;
mod person;
mod radio;
mod seat;
mod services;
mod session;
mod settings;
mod sockets;
mod tree;

pub use agent::{Answer, Question};
pub use bluez::BluezError;
pub use grant::{CONNECTED, Grant, INBOX_BYTES, Refusal, THE_SERVICE, link_name, pool_words, shown};
pub use handle::{ASKS_OPEN_MAX, Ask, Handle, Known, What};
pub use peripheral::Peripheral;
pub use person::{Paired, Person, PersonError, Seen};
pub use radio::Radio;
#[cfg(any(test, fuzzing))]
pub use radio::babble;
pub use services::service_name;
pub use tree::AddressKind;
