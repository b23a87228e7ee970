//! Frames of Modbus as they are on the wire. The simulators' and the proxy's own: it shares nothing with the gateway.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    Tcp,
    Rtu,
    Ascii,
}

/// What a frame carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Carried {
    /// The transaction; 0 where the framing has none.
    pub id: u16,
    pub unit: u8,
    pub pdu: Vec<u8>,
}

impl Framing {
    pub fn wrap(self, id: u16, unit: u8, pdu: &[u8]) -> Vec<u8> {
        self.short_by(id, unit, pdu, 0)
    }

    /// With a checksum that is this much too small; over TCP there is none.
    pub fn short_by(self, id: u16, unit: u8, pdu: &[u8], by: u8) -> Vec<u8> {
        let mut body = vec![unit];
        body.extend(pdu);
        match self {
            Self::Tcp => {
                let mut all = [id.to_be_bytes(), [0, 0], (body.len() as u16).to_be_bytes()].concat();
                all.append(&mut body);
                return all;
            }
            Self::Rtu => body.extend((crc(&body) - u16::from(by)).to_le_bytes()),
            Self::Ascii => {
                let sum = body.iter().fold(0u8, |sum, b| sum.wrapping_add(*b));
                body.push((!sum).wrapping_add(1).wrapping_sub(by));
                let text: String = body.iter().map(|b| format!("{b:02X}")).collect();
                body = format!(":{text}\r\n").into_bytes();
            }
        }
        body
    }

    /// Where the bytes are one whole frame; in ASCII behind whatever stands before its colon.
    pub fn unwrap(self, bytes: &[u8]) -> Option<Carried> {
        let (id, body) = match self {
            Self::Tcp => {
                let (head, body) = bytes.split_at_checked(6)?;
                let right = head[2..4] == [0, 0] && usize::from(u16::from_be_bytes([head[4], head[5]])) == body.len();
                (u16::from_be_bytes([head[0], head[1]]), right.then(|| body.to_vec())?)
            }
            Self::Rtu => {
                let (body, sum) = bytes.split_at_checked(bytes.len().checked_sub(2)?)?;
                (0, (crc(body).to_le_bytes() == sum).then(|| body.to_vec())?)
            }
            Self::Ascii => {
                let text = std::str::from_utf8(bytes).ok()?;
                let digits = text[text.rfind(':')? + 1..].strip_suffix("\r\n")?;
                let mut body: Vec<u8> =
                    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok()).collect::<Option<_>>()?;
                let right = body.iter().fold(0u8, |sum, b| sum.wrapping_add(*b)) == 0;
                body.pop();
                (0, right.then_some(body)?)
            }
        };
        let (unit, pdu) = body.split_first().filter(|(_, pdu)| !pdu.is_empty())?;
        Some(Carried { id, unit: *unit, pdu: pdu.to_vec() })
    }
}

fn crc(bytes: &[u8]) -> u16 {
    let mut sum = 0xFFFFu16;
    for b in bytes {
        sum ^= u16::from(*b);
        for _ in 0..8 {
            let odd = sum & 1 == 1;
            sum >>= 1;
            if odd {
                sum ^= 0xA001;
            }
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrapped_is_unwrapped_and_nothing_else_is() {
        let carried = Carried { id: 7, unit: 1, pdu: vec![3, 4, 0, 10, 0xFF, 0xFE] };
        for framing in [Framing::Tcp, Framing::Rtu, Framing::Ascii] {
            let id = if framing == Framing::Tcp { 7 } else { 0 };
            let bytes = framing.wrap(carried.id, carried.unit, &carried.pdu);
            assert_eq!(framing.unwrap(&bytes), Some(Carried { id, ..carried.clone() }), "{framing:?}");
            for n in 0..bytes.len() {
                assert_eq!(framing.unwrap(&bytes[..n]), None, "{framing:?} cut to {n}");
            }
        }
        // as the protocol's own description has it
        assert_eq!(Framing::Rtu.wrap(0, 1, &[0x83, 2]), [1, 0x83, 2, 0xC0, 0xF1]);
        assert_eq!(Framing::Ascii.wrap(0, 1, &[3, 5, 0x30, 0, 2]), b":010305300002C5\r\n");
        assert_eq!(Framing::Rtu.unwrap(&Framing::Rtu.short_by(0, 1, &[3, 2, 0, 1], 4)), None);
    }
}
