//! What can go wrong on a line, for the simulators and for the proxy. Pure: what befalls a frame depends on a seed and on how many went before it, never on
//! time, so that the same seed makes the same faults.

use clap::ValueEnum;

use super::Dice;
use super::modbus::framing::{Carried, Framing};

const FLIPPED_BITS: u64 = 3;
const STRAY_BYTES_MAX: u64 = 20;
/// Of a frame that stops in its middle; most masters wait longer.
pub const SLOW_MS: u64 = 250;
/// Longer than most masters wait for an answer.
pub const LATE_MS: u64 = 1500;
/// A device that hangs swallows so many frames.
pub const HANG_FRAMES: u64 = 3;
const DEVICE_FAILURE: u8 = 4; // the exception of a device that cannot do what it can
const MILLIONTHS: u64 = 1_000_000;

/// What befalls one frame of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Three of its bits flip on the way
    BitErrors,
    /// It is cut short
    Partial,
    /// Up to 20 bytes that belong to nothing come before it, in one piece with it
    Stray,
    /// It comes in one piece with another: of another Modbus unit before it, else with the frame behind it
    Joined,
    /// An answer of another unit comes instead (Modbus)
    Foreign,
    /// The device refuses: exception 4 comes instead (Modbus)
    Exception,
    /// Behind it, in one piece, comes an answer to a request that was not made yet (Modbus)
    Early,
    /// It stops in its middle and goes on after 250 ms
    Slow,
    /// It comes 1.5 s later, whatever comes in between
    Late,
    /// It does not come
    Lost,
    /// It does not come, nor do the next two
    Hang,
    /// Its first half comes; then the connection is cut, or the serial cable pulled for 0.7 s
    Unplug,
    /// What the gateway has sent comes back to it, as from an RS-485 adapter (counted by the gateway's frames)
    Echo,
}

impl Kind {
    pub fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    fn is_of_modbus(self) -> bool {
        matches!(self, Self::Foreign | Self::Exception | Self::Early)
    }

    /// Every kind with what it does, a line each.
    pub fn list() -> String {
        let line = |kind: &Self| {
            let value = kind.to_possible_value().expect("none is hidden");
            let does = value.get_help().map(ToString::to_string).unwrap_or_default();
            format!("  {:<11} {does}\n", value.get_name())
        };
        Self::value_variants().iter().map(line).collect()
    }
}

/// How often each kind happens, in millionths; at most one befalls a frame.
#[derive(Clone, Debug)]
pub struct Odds {
    seed: u64,
    each: Vec<(Kind, u64)>,
}

impl Odds {
    pub fn new(seed: u64, each: Vec<(Kind, u64)>) -> Result<Self, String> {
        match each.iter().map(|(_, often)| often).sum::<u64>() {
            sum if sum > MILLIONTHS => Err(format!("the faults come to {} %: one frame has one fault at most", sum as f64 / 10_000.0)),
            _ => Ok(Self { seed, each }),
        }
    }

    /// One frame in so many, each kind as often as the others.
    pub fn evenly(seed: u64, kinds: &[Kind], one_in: u64) -> Self {
        Self { seed, each: kinds.iter().map(|kind| (*kind, MILLIONTHS / one_in / kinds.len() as u64)).collect() }
    }

    /// What befalls the frame with this number, and the dice for how.
    pub fn draw(&self, n: u64) -> (Option<Kind>, Dice) {
        let mut dice = Dice::new(self.seed.rotate_left(32) ^ n.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        dice.roll(); // neighbours begin alike
        let mut left = dice.below(MILLIONTHS);
        for (kind, often) in &self.each {
            if left < *often {
                return (Some(*kind), dice);
            }
            left -= often;
        }
        (None, dice)
    }
}

/// NAME=RATE%, as a person writes it.
pub fn named(text: &str) -> Result<(Kind, u64), String> {
    let (name, rate) = text.split_once('=').ok_or("write NAME=RATE%, like bit-errors=5%")?;
    let names = || Kind::value_variants().iter().map(|kind| kind.name()).collect::<Vec<_>>().join(", ");
    let kind = Kind::from_str(name, false).map_err(|_| format!("{name} is no fault; write one of {}", names()))?;
    let percent = rate.strip_suffix('%').and_then(|r| r.parse::<f64>().ok()).filter(|p| (0.0..=100.0).contains(p));
    let percent = percent.ok_or_else(|| format!("{rate:?} is no rate from 0% to 100%, like 5% or 0.5%"))?;
    Ok((kind, (percent * 10_000.0).round() as u64))
}

/// How a line is told apart into frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frames {
    Modbus(Framing),
    /// Each ends with this byte.
    End(u8),
    /// Each ends with so many milliseconds of silence.
    Silence(u64),
}

impl Frames {
    /// Modbus RTU ends a frame with 3.5 characters of silence, which no program sees; this is longer than any program is late.
    const RTU_SILENCE_MS: u64 = 20;
    /// What stays unfinished for so long is no frame any more.
    const UNFINISHED_MS: u64 = 1000;
    const BYTES_MAX: usize = 65_536; // of one frame; what is longer is passed on in pieces

    /// As a person writes it.
    pub fn named(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("{text:?}: write modbus-tcp, modbus-rtu, modbus-ascii, end=FE (the byte, hexadecimal) or silence=50 (milliseconds)");
        Ok(match text.split_once('=') {
            None if text == "modbus-tcp" => Self::Modbus(Framing::Tcp),
            None if text == "modbus-rtu" => Self::Modbus(Framing::Rtu),
            None if text == "modbus-ascii" => Self::Modbus(Framing::Ascii),
            Some(("end", byte)) if byte.len() == 2 => Self::End(u8::from_str_radix(byte, 16).map_err(|_| wrong())?),
            Some(("silence", ms)) => Self::Silence(ms.parse().ok().filter(|ms| (1..=60_000).contains(ms)).ok_or_else(wrong)?),
            _ => return Err(wrong()),
        })
    }

    /// Whether this line can have such a fault.
    pub fn fits(self, kind: Kind) -> Result<(), String> {
        match self {
            Self::Modbus(_) => Ok(()),
            _ if !kind.is_of_modbus() => Ok(()),
            _ => Err(format!("{} is a fault of Modbus: add --frames modbus-tcp, modbus-rtu or modbus-ascii", kind.name())),
        }
    }

    /// Takes the next frame out of what was heard, when it is whole.
    pub fn take(self, heard: &mut Vec<u8>, silent_ms: u64) -> Option<Vec<u8>> {
        let end = match self {
            Self::Modbus(Framing::Tcp) => heard.get(4..6).map(|n| 6 + usize::from(u16::from_be_bytes([n[0], n[1]]))),
            Self::Modbus(Framing::Ascii) => heard.iter().position(|b| *b == b'\n').map(|at| at + 1),
            Self::End(byte) => heard.iter().position(|b| *b == byte).map(|at| at + 1),
            Self::Modbus(Framing::Rtu) | Self::Silence(_) => None,
        };
        let silence = match self {
            Self::Modbus(Framing::Rtu) => Self::RTU_SILENCE_MS,
            Self::Silence(ms) => ms,
            _ => Self::UNFINISHED_MS,
        };
        let by_silence = (!heard.is_empty() && (silent_ms >= silence || heard.len() >= Self::BYTES_MAX)).then_some(heard.len());
        let end = end.filter(|end| *end <= heard.len()).or(by_silence)?;
        Some(heard.drain(..end).collect())
    }

    fn unwrap(self, frame: &[u8]) -> Option<(Framing, Carried)> {
        let Self::Modbus(framing) = self else { return None };
        Some((framing, framing.unwrap(frame)?))
    }
}

/// What comes of a frame that a fault befell, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Send(Vec<u8>),
    /// Nothing goes out for so long.
    WaitMs(u64),
    /// Goes out so much later, whatever goes out in between.
    LaterMs(u64, Vec<u8>),
    /// Goes out in one piece with the next frame.
    Keep(Vec<u8>),
    /// So many frames behind it do not come either.
    Swallow(u64),
    /// The connection is cut, the cable pulled and put back.
    Unplug,
}

/// What comes of this frame instead. A frame that is none of Modbus cannot be refused or be another's: it comes as it is.
pub fn befall(kind: Kind, frames: Frames, frame: &[u8], dice: &mut Dice) -> Vec<Step> {
    let half = frame.len() / 2;
    let send = |bytes: Vec<u8>| vec![Step::Send(bytes)];
    let of_modbus =
        |make: &dyn Fn(Framing, Carried) -> Vec<u8>| frames.unwrap(frame).map_or(frame.to_vec(), |(framing, c)| make(framing, c));
    match kind {
        Kind::BitErrors => send(bit_errors(frame, dice)),
        Kind::Partial => send(partial(frame, dice)),
        Kind::Stray => send(stray(frame, dice)),
        Kind::Joined => match frames.unwrap(frame) {
            Some((framing, carried)) => send([foreign(framing, &carried), frame.to_vec()].concat()),
            None => vec![Step::Keep(frame.to_vec())],
        },
        Kind::Foreign => send(of_modbus(&|framing, carried| foreign(framing, &carried))),
        Kind::Exception => send(of_modbus(&|framing, c| framing.wrap(c.id, c.unit, &[c.pdu[0] | 0x80, DEVICE_FAILURE]))),
        Kind::Early => send(of_modbus(&|framing, c| [frame.to_vec(), framing.wrap(c.id.wrapping_add(1), c.unit, &c.pdu)].concat())),
        Kind::Slow => vec![Step::Send(frame[..half].to_vec()), Step::WaitMs(SLOW_MS), Step::Send(frame[half..].to_vec())],
        Kind::Late => vec![Step::LaterMs(LATE_MS, frame.to_vec())],
        Kind::Lost => vec![],
        Kind::Hang => vec![Step::Swallow(HANG_FRAMES - 1)],
        Kind::Unplug => vec![Step::Send(frame[..half].to_vec()), Step::Unplug],
        Kind::Echo => vec![Step::Send(frame.to_vec()), Step::Send(frame.to_vec())],
    }
}

/// The same from another unit.
pub fn foreign(framing: Framing, carried: &Carried) -> Vec<u8> {
    framing.wrap(carried.id, carried.unit ^ 3, &carried.pdu)
}

pub fn bit_errors(frame: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut bytes = frame.to_vec();
    for _ in 0..FLIPPED_BITS {
        let at = dice.below(bytes.len() as u64) as usize;
        bytes[at] ^= 1 << dice.below(8);
    }
    bytes
}

/// At least one byte of it, and never all.
pub fn partial(frame: &[u8], dice: &mut Dice) -> Vec<u8> {
    frame[..1 + dice.below((frame.len() as u64 - 1).max(1)) as usize].to_vec()
}

pub fn stray(frame: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..1 + dice.below(STRAY_BYTES_MAX)).map(|_| dice.roll() as u8).collect();
    bytes.extend(frame);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTU: Frames = Frames::Modbus(Framing::Rtu);

    #[test]
    fn the_same_seed_makes_the_same_faults_and_each_as_often_as_it_was_asked_for() {
        let odds = |seed| Odds::new(seed, vec![(Kind::BitErrors, 50_000), (Kind::Late, 200_000)]).unwrap();
        let drawn = |seed| (0..20_000).map(|n| odds(seed).draw(n).0).collect::<Vec<_>>();
        let one = drawn(7);
        assert_eq!(one, drawn(7));
        assert_ne!(one, drawn(8));
        let often = |kind| one.iter().filter(|k| **k == Some(kind)).count();
        assert!((800..1200).contains(&often(Kind::BitErrors)) && (3700..4300).contains(&often(Kind::Late)));
        assert!((0..2000).all(|n| odds(7).draw(n).1.roll() == odds(7).draw(n).1.roll()), "how it happens, too");
        assert!(Odds::new(1, vec![(Kind::Late, 600_000), (Kind::Lost, 500_000)]).is_err_and(|e| e.contains("110 %")));
        let evenly = Odds::evenly(3, &[Kind::Slow, Kind::Hang], 5);
        let all: Vec<_> = (0..20_000).filter_map(|n| evenly.draw(n).0).collect();
        assert!((3700..4300).contains(&all.len()) && (1700..2300).contains(&all.iter().filter(|k| **k == Kind::Hang).count()));
    }

    #[test]
    fn what_a_person_writes_is_understood_or_answered_with_what_may_be_written() {
        assert_eq!(named("bit-errors=2.5%"), Ok((Kind::BitErrors, 25_000)));
        for (wrong, says) in
            [("bit-errors", "NAME=RATE%"), ("bits=5%", "bit-errors, partial"), ("late=5", "no rate"), ("late=101%", "no rate")]
        {
            assert!(named(wrong).is_err_and(|e| e.contains(says)), "{wrong}");
        }
        assert_eq!(Frames::named("modbus-rtu"), Ok(RTU));
        assert_eq!((Frames::named("end=FE"), Frames::named("silence=50")), (Ok(Frames::End(0xFE)), Ok(Frames::Silence(50))));
        assert!(["end=x", "silence=0", "rtu", "end="].into_iter().all(|wrong| Frames::named(wrong).is_err()));
        assert!(Frames::End(13).fits(Kind::Exception).is_err_and(|e| e.contains("--frames")) && Frames::End(13).fits(Kind::Late).is_ok());
        assert_eq!(Kind::list().lines().count(), Kind::value_variants().len());
    }

    #[test]
    fn a_line_falls_into_its_frames() {
        let (one, two) = (Framing::Tcp.wrap(7, 1, &[3, 2, 0, 9]), Framing::Tcp.wrap(8, 1, &[0x83, 2]));
        let mut heard = [&one[..], &two, &[0, 9]].concat();
        let tcp = Frames::Modbus(Framing::Tcp);
        assert_eq!((tcp.take(&mut heard, 0), tcp.take(&mut heard, 0), tcp.take(&mut heard, 0)), (Some(one), Some(two), None));
        assert_eq!(tcp.take(&mut heard, Frames::UNFINISHED_MS), Some(vec![0, 9]), "what stays unfinished is passed on");
        let mut heard = b"ab\rc".to_vec();
        assert_eq!((Frames::End(13).take(&mut heard, 0), Frames::End(13).take(&mut heard, 0)), (Some(b"ab\r".to_vec()), None));
        assert_eq!((RTU.take(&mut heard, 19), RTU.take(&mut heard, 20), RTU.take(&mut heard, 99)), (None, Some(b"c".to_vec()), None));
    }

    /// Every kind on every framing: what comes is what its name says, and nothing panics, however short the frame.
    #[test]
    fn each_fault_does_what_it_says() {
        let mut dice = Dice::new(5);
        for frames in
            [Framing::Tcp, Framing::Rtu, Framing::Ascii].map(Frames::Modbus).into_iter().chain([Frames::End(13), Frames::Silence(9)])
        {
            let frame = match frames {
                Frames::Modbus(framing) => framing.wrap(5, 1, &[3, 2, 1, 2]),
                _ => b"T=36.5\r".to_vec(),
            };
            for kind in Kind::value_variants() {
                for length in [1, 2] {
                    befall(*kind, frames, &frame[..length], &mut dice);
                }
            }
            let unwrapped = |kind: Kind, dice: &mut Dice| match (&befall(kind, frames, &frame, dice)[..], frames) {
                ([Step::Send(bytes)], Frames::Modbus(framing)) => framing.unwrap(bytes),
                _ => None,
            };
            let sent = |kind: Kind, dice: &mut Dice| match &befall(kind, frames, &frame, dice)[..] {
                [Step::Send(bytes)] => bytes.clone(),
                other => panic!("{other:?}"),
            };
            assert!(sent(Kind::Stray, &mut dice).ends_with(&frame) && sent(Kind::Stray, &mut dice).len() > frame.len());
            assert!((1..frame.len()).contains(&sent(Kind::Partial, &mut dice).len()));
            assert_eq!(befall(Kind::Lost, frames, &frame, &mut dice), []);
            if let Frames::Modbus(framing) = frames {
                assert_eq!(unwrapped(Kind::Foreign, &mut dice).unwrap().unit, 2);
                assert_eq!(unwrapped(Kind::Exception, &mut dice).unwrap().pdu, [0x83, 4]);
                assert!(sent(Kind::Early, &mut dice).starts_with(&frame) && sent(Kind::Joined, &mut dice).ends_with(&frame));
                let damaged = (0..200).filter(|_| framing.unwrap(&sent(Kind::BitErrors, &mut dice)) == framing.unwrap(&frame)).count();
                assert!(damaged < 10, "bits that flip twice: {damaged} of 200");
            } else {
                assert_eq!(befall(Kind::Joined, frames, &frame, &mut dice), [Step::Keep(frame.clone())]);
            }
        }
    }
}
