//! What devices say: the plugins that we ship, run natively.

use ivy450c::Ivy450c;
use modbus_map::ModbusMap;
use modbus_map::decode::Order;
use modbus_map::map::{Defaults, read};
use modbus_map::plan::{Limits, plan};
use wardgate_sdk::modbus::{Failure, Response};
use wardgate_sdk::serial::LineFault;
use wardgate_sdk::{Modbus, Moment, Opening, Outbox, Plugin, Said, Serial, fact};

use crate::generator::Second;
use crate::random::Random;

fn at(ms: u64) -> Moment {
    Moment { boot: 1, monotonic_ns: ms * 1_000_000, wall: None }
}

fn opening(settings: &[(&str, &str)], saved: Option<Vec<u8>>) -> Opening {
    Opening { settings: settings.iter().map(|(name, value)| fact(name, *value)).collect(), about: vec![], seed: 7, saved }
}

fn numbers(said: &[Said]) -> usize {
    said.iter().filter(|s| matches!(s, Said::Emit(_))).count()
}

/// Bytes of the line, in pieces; two whole messages at the end are heard whatever came before. After a byte 0 comes a saved state.
pub fn ivy450c(data: &[u8]) {
    let Some((&how, rest)) = data.split_first() else { return };
    let (saved, stream) = if how == 0 { (Some(rest[..rest.len() / 2].to_vec()), &rest[rest.len() / 2..]) } else { (None, rest) };
    let mut out = Outbox::default();
    let mut plugin = Ivy450c::open(at(0), opening(&[], saved), &mut out).expect("it opens");
    out.take();
    for (n, piece) in stream.chunks(usize::from(how).max(1)).enumerate() {
        plugin.received(at(n as u64), piece, &mut out).expect("no problem");
        if how % 16 == 3 && n % 16 == 9 {
            plugin.faulted(at(n as u64), LineFault::Overrun, &mut out).expect("no problem");
        }
    }
    out.take();
    let good = Second::usual(0).bytes();
    plugin.received(at(100_000), &[good.clone(), good].concat(), &mut out).expect("no problem");
    assert!(numbers(&out.take()) >= 1, "a good message is heard");
    plugin.timer(at(200_000), 1, &mut out).expect("no problem");
    plugin.close(at(200_000), &mut out).expect("no problem");
}

pub fn ivy450c_seeds() -> Vec<Vec<u8>> {
    let mut random = Random(5);
    let stream = |how: u8, seconds: Vec<Second>| [vec![how], seconds.iter().flat_map(Second::bytes).collect()].concat();
    (0..20).map(|n| stream([0, 3, 64, 255][n % 4], vec![Second::any(&mut random), Second::any(&mut random)])).collect()
}

const DEFAULTS: Defaults = Defaults { server: 1, every_ms: 1000, order: Order { low_word_first: false, low_byte_first: false } };
const SMC: &str = include_str!("../../../plugins/modbus-map/maps/smc-hrs.map");

/// A map up to the first byte 0; then answers: what they are, how many words, the words.
pub fn modbus_map(data: &[u8]) {
    let (text, mut answers) = data.split_at(data.iter().position(|b| *b == 0).unwrap_or(data.len()));
    let text = String::from_utf8_lossy(text);
    if let Ok(rows) = read(&text, DEFAULTS) {
        for limits in [Limits { gap: 0, registers: 4 }, Limits { gap: 9, registers: 125 }] {
            let plan = plan(&rows, limits);
            assert_eq!(plan.requests.iter().map(|r| r.rows.len()).sum::<usize>(), rows.len(), "each row is asked for once");
        }
    }
    let map = if text.is_empty() { SMC } else { &text };
    let mut out = Outbox::default();
    let Ok(mut plugin) = ModbusMap::open(at(0), opening(&[("map", map)], None), &mut out) else { return };
    let mut open = None;
    for ms in (0..).step_by(250) {
        let said = out.take();
        open = said.iter().filter_map(|s| if let Said::ModbusSubmit(tag, ..) = s { Some(*tag) } else { None }).last().or(open);
        let Some((&[what, words], rest)) = answers.split_first_chunk::<2>() else { break };
        let (bytes, later) = rest.split_at((2 * usize::from(words)).min(rest.len()));
        answers = later;
        let registers: Vec<u16> = bytes.chunks_exact(2).map(|w| u16::from_be_bytes([w[0], w[1]])).collect();
        let outcome = match what % 8 {
            0 => Err(Failure::Timeout),
            1 => Err(Failure::Exception(words)),
            2 => Err(Failure::Malformed),
            3 => Ok(Response::Bits(bytes.iter().map(|b| b & 1 == 1).collect())),
            _ => Ok(Response::Registers(registers)),
        };
        plugin.reply(at(ms), open.unwrap_or(u32::from(what)), outcome, &mut out).expect("no problem");
        plugin.timer(at(ms + 100), 1 + u32::from(what >> 6), &mut out).expect("no problem");
    }
    plugin.close(at(9_000_000), &mut out).expect("no problem");
}

pub fn modbus_map_seeds() -> Vec<Vec<u8>> {
    let answers: Vec<u8> = [4_u8, 12].into_iter().chain((0..24).map(|n| n * 7)).chain([0, 0, 1, 2, 9, 9, 9, 9, 4, 1, 0, 5]).collect();
    let all = "a holding 0 u16\nb holding 1 u32\nc holding 2 bits[3]\nd input 3 f32 scale 0.1\nh coil 8 bit\ni holding 100 u64 every 5s server 2\n";
    [SMC, all, ""].map(|map| [map.as_bytes(), &[0], &answers[..]].concat()).to_vec()
}

/// Bytes on a bus, as each framing reads them.
pub fn modbus_frame(data: &[u8]) {
    wardgate::capability::modbus::look_at(data);
}

pub fn modbus_frame_seeds() -> Vec<Vec<u8>> {
    let rtu = vec![1, 3, 2, 0, 7, 0xF9, 0x86];
    let tcp = vec![0, 1, 0, 0, 0, 5, 1, 3, 2, 0, 7];
    vec![rtu, tcp, b":010302000AF0\r\n".to_vec(), vec![1, 0x83, 2, 0xC0, 0xF1]]
}

/// Bytes of a tty with marks, and of a terminal server.
pub fn serial_line(data: &[u8]) {
    wardgate::capability::serial::read_at(data);
}

pub fn serial_line_seeds() -> Vec<Vec<u8>> {
    vec![vec![1, 0xFF, 0xFF, 0, 0xFF, 0, 0x41, 2], vec![3, 0xFF, 0xFD, 0x2C, 0xFF, 0xFA, 0x2C, 101, 0, 0, 0x25, 0x80, 0xFF, 0xF0, 65]]
}
