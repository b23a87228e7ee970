//! A recorded stream, cut into its messages and read by eyes of our own, to be played at its real rate.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use super::{IVY450C_VALUES, Message, Said};

const HEAD: &[u8] = b"\xFFANSAR-B ";
const WAVES: [(&str, usize); 5] = [("ecg", 200), ("resp", 50), ("pleth", 50), ("p1", 50), ("p2", 50)];
const WAVE_BYTES: usize = 400;
const END: u8 = 0xFE;

/// All that the file holds: whole messages, and what lies before, between and behind them.
pub struct Capture(Vec<Vec<u8>>);

impl Capture {
    pub fn read(path: &Path) -> io::Result<Self> {
        Ok(Self::of(&fs::read(path)?))
    }

    /// Cut behind each end mark, waves passed over: what lies before the first header goes out as the device's first second.
    pub fn of(bytes: &[u8]) -> Self {
        let mut pieces = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            let text = if rest.starts_with(HEAD) { HEAD.len() + WAVE_BYTES } else { 0 };
            let end = rest.iter().skip(text).position(|b| *b == END).map_or(rest.len(), |at| text + at + 1);
            pieces.push(rest[..end].to_vec());
            rest = &rest[end..];
        }
        Self(pieces)
    }

    pub fn messages(&self) -> usize {
        self.0.iter().filter(|piece| whole(piece)).count()
    }

    /// What a reader finds in the bytes of a line: the message that begins at their first header, when it is whole.
    pub fn find(bytes: &[u8]) -> Option<Said> {
        let at = bytes.windows(HEAD.len()).position(|w| w == HEAD)?;
        Self::of(&bytes[at..]).message(0).map(|m| m.said).filter(|said| said.damage.is_none())
    }

    pub fn message(&self, n: usize) -> Option<Message> {
        let bytes = self.0.get(n)?.clone();
        let mut said = Said {
            n: 0,
            monotonic_ns: 0,
            damage: None,
            line: None,
            waves: BTreeMap::new(),
            numerics: BTreeMap::new(),
            labels: BTreeMap::new(),
            alarms: BTreeMap::new(),
            values: 0,
            unread: 0,
        };
        if whole(&bytes) {
            said.values = IVY450C_VALUES;
            read(&bytes, &mut said);
        } else {
            said.damage = Some("not whole in the capture".into());
        }
        Some(Message { bytes, said })
    }
}

fn whole(piece: &[u8]) -> bool {
    piece.starts_with(HEAD) && piece.len() > HEAD.len() + WAVE_BYTES && piece.ends_with(&[END])
}

fn read(bytes: &[u8], said: &mut Said) {
    let mut at = HEAD.len();
    for (name, samples) in WAVES {
        said.waves.insert(name.into(), bytes[at..at + samples].to_vec());
        at += samples;
    }
    let text = String::from_utf8_lossy(&bytes[at..bytes.len() - 1]).into_owned();
    for line in text.split('\r').filter(|l| !l.is_empty()) {
        let Some((name, rest)) = line.split_once('=') else { continue };
        let mut fields: Vec<String> = rest.split(';').skip(1).map(|f| f.trim().to_owned()).collect();
        let (Some(alarm), Some(label)) = (fields.pop(), fields.pop()) else { continue };
        let mut values: Vec<Option<String>> = fields.into_iter().map(|f| Some(f).filter(|f| !f.is_empty())).collect();
        let pulse = label.strip_prefix("PR=").map(str::to_owned);
        if !label.is_empty() && (name != "SPO2" || pulse.is_none()) {
            said.labels.insert(name.into(), label);
        }
        if name == "SPO2" {
            values.push(pulse);
        }
        if !alarm.is_empty() {
            said.alarms.insert(name.into(), alarm);
        }
        said.numerics.insert(name.into(), values);
    }
}
