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
pub use grant::{Grant, ROOM_MAX, Refusal};
pub use handle::{Ask, Handle};
pub use members::Members;
pub use settings::{BusError, target};

/// What each framing makes of these bytes: for a fuzzer, which has no line.
#[doc(hidden)]
pub fn look_at(held: &[u8]) {
    use frame::{Awaited, Look};
    use settings::Protocol;
    for protocol in [Protocol::Tcp, Protocol::Rtu, Protocol::Ascii] {
        for (quirk, silent) in [(false, false), (true, true)] {
            if let Look::Frame { taken, pdu, .. } = protocol.look(held, Awaited { server: 1, quirk, silent }) {
                assert!(taken <= held.len() && !pdu.is_empty(), "{protocol:?}: {taken} of {}", held.len());
            }
        }
    }
}
