//! Serial: what an instance may write and to which port ([`Grant`]), how it writes ([`Handle`]), and the owner of the port ([`Port`]).

mod grant;
mod handle;
mod marks;
mod pattern;
mod port;
mod tty;

pub use grant::{Framing, Grant, GrantError, INBOX_S, Parity, Refusal};
pub use handle::{Handle, WRITES_OPEN_MAX, Write};
pub use pattern::{FRAME_BYTES_MAX, Pattern, PatternError};
pub use port::Port;
