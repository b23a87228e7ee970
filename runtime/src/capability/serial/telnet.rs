//! Telnet with the COM port option (RFC 854, RFC 2217): how a terminal server is told speed and framing, and tells of line faults.
//! Pure: bytes in, what they mean out.

use super::marks::Came;
use super::{Flow, Parity, Settings};
use crate::contract::serial::LineFault;

const IAC: u8 = 255;
const DONT: u8 = 254;
const DO: u8 = 253;
const WONT: u8 = 252;
const WILL: u8 = 251;
const SB: u8 = 250;
const SE: u8 = 240;

const BINARY: u8 = 0;
const SUPPRESS_GO_AHEAD: u8 = 3;
const COM_PORT: u8 = 44;

const SET_BAUD: u8 = 1;
const SET_DATA: u8 = 2;
const SET_PARITY: u8 = 3;
const SET_STOP: u8 = 4;
const SET_CONTROL: u8 = 5;
const SET_LINE_MASK: u8 = 10;
const PURGE: u8 = 12;
/// The server's commands are the client's and this.
const FROM_SERVER: u8 = 100;
const NOTIFY_LINE: u8 = 106;

const LINE_OVERRUN: u8 = 2;
const LINE_PARITY: u8 = 4;
const LINE_FRAMING: u8 = 8;
const LINE_BREAK: u8 = 16;

const SUBNEGOTIATION_BYTES_MAX: usize = 256; // a signature text is the longest that a server sends unasked

/// Both ways of one connection.
#[derive(Debug)]
pub(super) struct Telnet {
    seen: Seen,
    sub: Vec<u8>,
    /// What the server has yet to confirm: command, value.
    wanted: Vec<(u8, u32)>,
    set: Set,
}

/// How far the port behind the server is as the grant says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Set {
    Not,
    Done,
    Refused(String),
}

#[derive(Clone, Copy, Debug)]
enum Seen {
    Nothing,
    Iac,
    Verb(u8),
    Sub,
    SubIac,
}

impl Telnet {
    pub(super) fn new(settings: &Settings) -> Self {
        let parity = match settings.framing.parity {
            Parity::None => 1,
            Parity::Odd => 2,
            Parity::Even => 3,
        };
        let flow = match settings.flow {
            Flow::None => 1,
            Flow::Software => 2,
            Flow::Hardware => 3,
        };
        let wanted = [
            (SET_BAUD, settings.baud),
            (SET_DATA, settings.framing.data.into()),
            (SET_PARITY, parity),
            (SET_STOP, settings.framing.stop.into()),
            (SET_CONTROL, flow),
        ];
        Self { seen: Seen::Nothing, sub: Vec::new(), wanted: wanted.to_vec(), set: Set::Not }
    }

    /// The first words: eight clean bits both ways, and the port option.
    pub(super) fn hello(&self) -> Vec<u8> {
        let options = [(WILL, BINARY), (DO, BINARY), (WILL, SUPPRESS_GO_AHEAD), (DO, SUPPRESS_GO_AHEAD), (WILL, COM_PORT)];
        options.iter().flat_map(|(verb, option)| [IAC, *verb, *option]).collect()
    }

    pub(super) fn set(&self) -> &Set {
        &self.set
    }

    pub(super) fn escape(bytes: &[u8]) -> Vec<u8> {
        bytes.iter().flat_map(|b| std::iter::repeat_n(*b, if *b == IAC { 2 } else { 1 })).collect()
    }

    pub(super) fn read(&mut self, raw: &[u8]) -> Vec<Came> {
        let mut all = Vec::new();
        let mut bytes = Vec::with_capacity(raw.len());
        for b in raw {
            let came = match (self.seen, *b) {
                (Seen::Nothing, IAC) => self.goes_on(Seen::Iac),
                (Seen::Nothing, b) => {
                    bytes.push(b);
                    None
                }
                (Seen::Iac, IAC) => {
                    bytes.push(IAC);
                    self.goes_on(Seen::Nothing)
                }
                (Seen::Iac, verb @ WILL..=DONT) => self.goes_on(Seen::Verb(verb)),
                (Seen::Iac, SB) => {
                    self.sub.clear();
                    self.goes_on(Seen::Sub)
                }
                (Seen::Iac, _) => self.goes_on(Seen::Nothing), // NOP, AYT ...: nothing to a port
                (Seen::Verb(verb), option) => {
                    self.seen = Seen::Nothing;
                    self.option(verb, option)
                }
                (Seen::Sub, IAC) => self.goes_on(Seen::SubIac),
                (Seen::Sub, b) => self.sub_byte(b),
                (Seen::SubIac, SE) => {
                    self.seen = Seen::Nothing;
                    self.told()
                }
                (Seen::SubIac, b) => {
                    self.seen = Seen::Sub;
                    self.sub_byte(b)
                }
            };
            if let Some(came) = came {
                if !bytes.is_empty() {
                    all.push(Came::Bytes(std::mem::take(&mut bytes)));
                }
                all.push(came);
            }
        }
        if !bytes.is_empty() {
            all.push(Came::Bytes(bytes));
        }
        all
    }

    fn goes_on(&mut self, seen: Seen) -> Option<Came> {
        self.seen = seen;
        None
    }

    fn sub_byte(&mut self, b: u8) -> Option<Came> {
        if self.sub.len() < SUBNEGOTIATION_BYTES_MAX {
            self.sub.push(b);
        }
        None
    }

    /// What we offered needs no answer; all else is declined once.
    fn option(&mut self, verb: u8, option: u8) -> Option<Came> {
        match (verb, option) {
            (DO, COM_PORT) => Some(Came::Reply(self.settings())),
            (DONT, COM_PORT) => {
                self.set = Set::Refused("it does not speak RFC 2217: write tcp:// and set speed and framing at the server".into());
                None
            }
            (DO | WILL, BINARY | SUPPRESS_GO_AHEAD) | (DONT | WONT, _) | (WILL, COM_PORT) => None,
            (DO, _) => Some(Came::Reply(vec![IAC, WONT, option])),
            _ => Some(Came::Reply(vec![IAC, DONT, option])),
        }
    }

    fn settings(&self) -> Vec<u8> {
        let mut all = Vec::new();
        for (command, value) in &self.wanted {
            let value = value.to_be_bytes();
            all.extend(sub(*command, if *command == SET_BAUD { &value } else { &value[3..] }));
        }
        all.extend(sub(SET_LINE_MASK, &[LINE_OVERRUN | LINE_PARITY | LINE_FRAMING | LINE_BREAK]));
        all.extend(sub(PURGE, &[1])); // what came before belongs to nobody
        all
    }

    fn told(&mut self) -> Option<Came> {
        let [COM_PORT, command, value @ ..] = &self.sub[..] else { return None };
        if *command == NOTIFY_LINE {
            return value.first().and_then(|state| fault(*state)).map(Came::Fault);
        }
        let command = command.wrapping_sub(FROM_SERVER);
        let value = value.iter().fold(0u32, |n, b| n << 8 | u32::from(*b));
        if let Some(at) = self.wanted.iter().position(|(wanted, _)| *wanted == command) {
            let (_, wanted) = self.wanted[at];
            if wanted == value {
                self.wanted.remove(at);
            } else {
                let what = ["", "baud", "data bits", "parity", "stop bits", "flow control"][usize::from(command)];
                self.set = Set::Refused(format!("it set {what} {value} where {wanted} was asked for"));
            }
            if self.wanted.is_empty() && self.set == Set::Not {
                self.set = Set::Done;
            }
        }
        None
    }
}

fn sub(command: u8, value: &[u8]) -> Vec<u8> {
    [&[IAC, SB, COM_PORT, command], &Telnet::escape(value)[..], &[IAC, SE]].concat()
}

fn fault(state: u8) -> Option<LineFault> {
    [
        (LINE_BREAK, LineFault::BreakSeen), // a break is a framing error too
        (LINE_PARITY, LineFault::Parity),
        (LINE_FRAMING, LineFault::Framing),
        (LINE_OVERRUN, LineFault::Overrun),
    ]
    .into_iter()
    .find_map(|(bit, fault)| (state & bit != 0).then_some(fault))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capability::serial::{Framing, Place};

    fn telnet() -> Telnet {
        Telnet::new(&Settings {
            place: Place::Rfc2217("h:1".into()),
            baud: 115_200,
            framing: Framing::parse("7E1").unwrap(),
            flow: Flow::None,
        })
    }

    fn confirms(set: &[(u8, &[u8])]) -> Vec<u8> {
        set.iter().flat_map(|(command, value)| sub(command + FROM_SERVER, value)).collect()
    }

    const ALL: [(u8, &[u8]); 5] =
        [(SET_BAUD, &[0, 1, 0xC2, 0]), (SET_DATA, &[7]), (SET_PARITY, &[3]), (SET_STOP, &[1]), (SET_CONTROL, &[1])];

    #[test]
    fn the_port_is_set_once_the_server_has_confirmed_all() {
        let mut t = telnet();
        let [Came::Reply(asked)] = &t.read(&[IAC, DO, COM_PORT])[..] else { panic!("no settings") };
        assert!(asked.starts_with(&[IAC, SB, COM_PORT, SET_BAUD, 0, 1, 0xC2, 0, IAC, SE]), "115200");
        assert_eq!(t.read(&confirms(&ALL[..4])), []);
        assert_eq!(*t.set(), Set::Not);
        t.read(&confirms(&ALL[4..]));
        assert_eq!(*t.set(), Set::Done);
    }

    #[test]
    fn another_speed_or_no_option_is_named() {
        let mut t = telnet();
        t.read(&confirms(&[(SET_BAUD, &[0, 0, 0x25, 0x80])]));
        assert_eq!(*t.set(), Set::Refused("it set baud 9600 where 115200 was asked for".into()));
        t.read(&confirms(&ALL));
        assert!(matches!(t.set(), Set::Refused(_)), "it stays refused");
        let mut t = telnet();
        t.read(&[IAC, DONT, COM_PORT]);
        assert!(matches!(t.set(), Set::Refused(_)));
    }

    #[test]
    fn data_faults_and_words_are_told_apart_wherever_a_read_cuts_them() {
        let mut raw = vec![1, IAC, IAC, 2, IAC, DO, 24, 3];
        raw.extend(sub(NOTIFY_LINE, &[LINE_PARITY]));
        raw.extend([4, IAC, 241, 5]);
        raw.extend(sub(NOTIFY_LINE, &[LINE_BREAK | LINE_FRAMING]));
        raw.extend(sub(NOTIFY_LINE, &[0x60])); // the transmitter is empty: no fault
        for cut in 0..=raw.len() {
            let mut t = telnet();
            let mut all: Vec<Came> = Vec::new();
            for came in t.read(&raw[..cut]).into_iter().chain(t.read(&raw[cut..])) {
                match (all.last_mut(), came) {
                    (Some(Came::Bytes(last)), Came::Bytes(more)) => last.extend(more),
                    (_, came) => all.push(came),
                }
            }
            assert_eq!(
                all,
                [
                    Came::Bytes(vec![1, IAC, 2]),
                    Came::Reply(vec![IAC, WONT, 24]),
                    Came::Bytes(vec![3]),
                    Came::Fault(LineFault::Parity),
                    Came::Bytes(vec![4, 5]),
                    Came::Fault(LineFault::BreakSeen),
                ],
                "cut at {cut}"
            );
        }
    }

    #[test]
    fn escaped_bytes_come_back_and_a_flood_is_bounded() {
        let all: Vec<u8> = (0..=255).chain([IAC, IAC]).collect();
        assert_eq!(telnet().read(&Telnet::escape(&all)), [Came::Bytes(all)]);
        let mut t = telnet();
        t.read(&[IAC, SB]);
        t.read(&vec![7; 1 << 20]);
        assert_eq!(t.sub.len(), SUBNEGOTIATION_BYTES_MAX);
    }
}
