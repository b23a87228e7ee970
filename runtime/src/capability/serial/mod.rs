//! Serial: what an instance may write and to which port ([`Grant`]), how it writes ([`Handle`]), and the owner of the port ([`Port`]).

mod grant;
mod handle;
mod marks;
mod pattern;
mod port;
mod settings;
mod telnet;
mod tty;
mod wire;

pub use grant::{Framing, Grant, GrantError, INBOX_S, Parity, Refusal};
pub use handle::{Handle, WRITES_OPEN_MAX, Write};
pub use pattern::{FRAME_BYTES_MAX, Pattern, PatternError};
pub use port::Port;
pub use settings::{Flow, Place, Settings};

pub(super) use grant::{BAUD_MAX, BAUD_MIN};
pub(super) use marks::Came;
pub(super) use settings::is_host_and_port;
pub(super) use wire::Wire;
