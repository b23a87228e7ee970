//! What an SMC HRS chiller (it cools the tube of a CT) says to a request at a moment: holding registers 0 to 11, the setpoint writable.
//!
//! | register | meaning |
//! |---|---|
//! | 0 | temperature, 0.1 °C, signed |
//! | 1 | flow, 0.1 L/min |
//! | 2 | pressure, 0.01 MPa |
//! | 3 | conductivity, 0.1 uS/cm |
//! | 4 | status bits |
//! | 5 to 8 | alarm bits |
//! | 11 | setpoint, 0.1 °C, may be written |

use std::collections::BTreeMap;

/// Registers with a meaning.
pub const POINTS: [u16; 10] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 11];
const REGISTERS: u16 = 12;
const SETPOINT: u16 = 11;
const SETPOINT_AT_START: u16 = 200;
const SETPOINT_MIN: u16 = 50;
const SETPOINT_MAX: u16 = 350;

const ILLEGAL_FUNCTION: u8 = 1;
const ILLEGAL_ADDRESS: u8 = 2;
const ILLEGAL_VALUE: u8 = 3;

pub struct Chiller {
    started_ns: u64,
    setpoints: BTreeMap<u8, u16>,
}

impl Chiller {
    pub fn new(started_ns: u64) -> Self {
        Self { started_ns, setpoints: BTreeMap::new() }
    }

    /// The PDU that answers this one.
    pub fn answer(&mut self, unit: u8, pdu: &[u8], now_ns: u64) -> Vec<u8> {
        self.try_answer(unit, pdu, now_ns).unwrap_or_else(|code| vec![pdu[0] | 0x80, code])
    }

    fn try_answer(&mut self, unit: u8, pdu: &[u8], now_ns: u64) -> Result<Vec<u8>, u8> {
        let word = |at: usize| pdu.get(at..at + 2).map(|w| u16::from_be_bytes([w[0], w[1]])).ok_or(ILLEGAL_VALUE);
        match pdu[0] {
            3 => {
                let (first, count) = (word(1)?, word(3)?);
                if count == 0 || count > 125 || pdu.len() != 5 {
                    return Err(ILLEGAL_VALUE);
                }
                if u32::from(first) + u32::from(count) > REGISTERS.into() {
                    return Err(ILLEGAL_ADDRESS);
                }
                let mut answer = vec![3, count as u8 * 2];
                answer.extend((first..first + count).flat_map(|r| self.register(unit, r, now_ns).to_be_bytes()));
                Ok(answer)
            }
            6 => {
                self.write(unit, word(1)?, word(3)?)?;
                Ok(pdu.to_vec())
            }
            16 => {
                let (first, count) = (word(1)?, word(3)?);
                if count != 1 || pdu.get(5) != Some(&2) || pdu.len() != 8 {
                    return Err(ILLEGAL_VALUE);
                }
                self.write(unit, first, word(6)?)?;
                Ok(pdu[..5].to_vec())
            }
            _ => Err(ILLEGAL_FUNCTION),
        }
    }

    fn write(&mut self, unit: u8, register: u16, value: u16) -> Result<(), u8> {
        if register != SETPOINT {
            return Err(ILLEGAL_ADDRESS);
        }
        if !(SETPOINT_MIN..=SETPOINT_MAX).contains(&value) {
            return Err(ILLEGAL_VALUE);
        }
        self.setpoints.insert(unit, value);
        Ok(())
    }

    /// Drifts with time and differs between units; the same second of the same unit is the same everywhere.
    fn register(&self, unit: u8, register: u16, now_ns: u64) -> u16 {
        let t = now_ns.saturating_sub(self.started_ns) as f64 / 1e9 + f64::from(unit) * 17.0;
        let setpoint = self.setpoints.get(&unit).copied().unwrap_or(SETPOINT_AT_START);
        let wave = |period: f64, swing: f64| (t * std::f64::consts::TAU / period).sin() * swing;
        let too_warm = wave(97.0, 1.0) > 0.92;
        match register {
            0 => (i32::from(setpoint) + wave(41.0, 12.0).round() as i32 + wave(3.7, 2.0).round() as i32) as i16 as u16,
            1 => (253.0 + wave(13.0, 6.0)).round() as u16,
            2 => (31.0 + wave(29.0, 3.0)).round() as u16,
            3 => (118.0 + wave(300.0, 25.0)).round() as u16,
            4 => 0b1 | if too_warm { 0b10 } else { 0 } | 0b10_0000,
            5 => u16::from(too_warm) << 3,
            SETPOINT => setpoint,
            _ => 0, // 6 to 8 are alarms that this one never has
        }
    }
}
