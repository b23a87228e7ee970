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

pub use grant::{Framing, Grant, INBOX_S, Parity, Refusal};
pub use handle::{Handle, WRITES_OPEN_MAX, Write};
pub use pattern::{FRAME_BYTES_MAX, Pattern, PatternError};
pub use port::Port;
pub use settings::{Flow, Place, Settings};

pub(super) use grant::{BAUD_MAX, BAUD_MIN};
pub(super) use marks::Came;
pub(super) use settings::is_host_and_port;
pub(super) use wire::Wire;

/// What a tty and a terminal server make of these bytes, whole and cut in two: for a fuzzer, which has no line.
#[doc(hidden)]
pub fn read_at(raw: &[u8]) {
    fn joined(all: impl IntoIterator<Item = Came>) -> Vec<Came> {
        let mut out: Vec<Came> = Vec::new();
        for came in all {
            match (out.last_mut(), came) {
                (Some(Came::Bytes(last)), Came::Bytes(more)) => last.extend(more),
                (_, came) => out.push(came),
            }
        }
        out
    }
    let (left, right) = raw.split_at(raw.first().map_or(0, |b| usize::from(*b) % raw.len()));
    for parity in [false, true] {
        let (mut whole, mut cut) = (marks::Marks::new(parity), marks::Marks::new(parity));
        assert_eq!(joined(whole.read(raw)), joined([cut.read(left), cut.read(right)].into_iter().flatten()));
    }
    let framing = Framing::parse("7E1").expect("a framing");
    let settings = Settings { place: Place::Rfc2217("h:1".into()), baud: 9600, framing, flow: Flow::None };
    let (mut whole, mut cut) = (telnet::Telnet::new(&settings), telnet::Telnet::new(&settings));
    assert_eq!(joined(whole.read(raw)), joined([cut.read(left), cut.read(right)].into_iter().flatten()));
    assert_eq!(whole.set(), cut.set());
}
