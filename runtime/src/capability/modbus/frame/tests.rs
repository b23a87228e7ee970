//! Tests of the frames.

use super::*;

const ONE: Awaited = Awaited { server: 1, quirk: false, silent: false };
const ALL: [Protocol; 3] = [Protocol::Tcp, Protocol::Rtu, Protocol::Ascii];

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn frame(look: Look) -> (u8, Vec<u8>, usize) {
    match look {
        Look::Frame { server, pdu, taken, .. } => (server, pdu, taken),
        other => panic!("{other:?}"),
    }
}

/// PDUs of replies, each in its own length.
fn replies() -> Vec<Vec<u8>> {
    let texts = ["0104", "02020102", "030400000708", "0402ff9c", "0500100000", "0600010003", "0f00100008", "1000010002", "16000400f20025"];
    let mut all: Vec<_> = texts.iter().map(|t| hex(t)).collect();
    all[0] = hex("010155");
    all.push(hex("8302"));
    all.push(hex("110301ff07"));
    all.push(hex("17020009"));
    all.push(hex("2b0e0101000002000161010262636363")[..14].to_vec());
    all
}

/// Frames whose checksums others computed (the protocol's own examples, and vendors' manuals).
#[test]
fn rtu_frames_as_others_compute_them() {
    for text in ["018302c0f1", "010402ff9cf8a9", "010302c800ef84", "010306002aff4c00338965", "01030400000708f9c5"] {
        let bytes = hex(text);
        let (server, pdu, taken) = frame(Protocol::Rtu.look(&bytes, ONE));
        assert_eq!((server, taken), (1, bytes.len()));
        assert_eq!(Protocol::Rtu.wrap(0, server, &pdu), bytes);
    }
    assert_eq!(Protocol::Rtu.wrap(0, 1, &hex("03008000 02".replace(' ', "").as_str())), hex("010300800002c5e3"));
}

#[test]
fn what_is_wrapped_is_found_whole_and_every_truncation_waits() {
    for protocol in ALL {
        for pdu in replies() {
            let bytes = protocol.wrap(7, 1, &pdu);
            assert_eq!(bytes.len(), protocol.frame_bytes(pdu.len()));
            assert_eq!(frame(protocol.look(&bytes, ONE)), (1, pdu.clone(), bytes.len()), "{protocol:?} {pdu:?}");
            let joined = [&bytes[..], &bytes].concat();
            assert_eq!(frame(protocol.look(&joined, ONE)).2, bytes.len(), "the second stays");
            for n in 0..bytes.len() {
                assert_eq!(protocol.look(&bytes[..n], ONE), Look::More, "{protocol:?} {pdu:?} cut to {n}");
            }
        }
    }
}

#[test]
fn a_flipped_bit_is_never_a_right_rtu_frame() {
    for pdu in replies() {
        let right = Protocol::Rtu.wrap(0, 1, &pdu);
        for bit in 0..right.len() * 8 {
            let mut bytes = right.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let look = Protocol::Rtu.look(&bytes, Awaited { silent: true, ..ONE });
            assert!(!matches!(look, Look::Frame { .. }), "{pdu:?} bit {bit}: {look:?}");
        }
    }
}

/// A checksum of 16 bits lets through one damaged frame of 65,536; what it lets through is a frame, whole and by its own sum right.
#[test]
fn mutations_are_refused_or_carry_a_right_checksum() {
    let mut dice = 0x9E37_79B9_7F4A_7C15u64;
    let mut roll = |n: usize| {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (dice >> 33) as usize % n
    };
    let all = replies();
    let mut accepted = 0;
    for n in 0..100_000 {
        let protocol = ALL[n % 2]; // the third has its own
        let right = protocol.wrap(7, 1, &all[roll(all.len())]);
        let mut bytes = right.clone();
        for _ in 0..1 + roll(3) {
            let at = roll(bytes.len());
            match roll(4) {
                0 => bytes[at] ^= 1 << roll(8),
                1 if bytes.len() > 1 => drop(bytes.remove(at)),
                2 => bytes.insert(at, roll(256) as u8),
                _ => bytes.truncate(at.max(1)),
            }
        }
        if let Look::Frame { server, pdu, id, taken, noise, .. } = protocol.look(&bytes, Awaited { silent: true, ..ONE }) {
            assert_eq!(protocol.wrap(id.unwrap_or(0), server, &pdu), bytes[noise..taken]);
            accepted += usize::from(protocol == Protocol::Rtu && bytes[noise..taken] != right);
        }
    }
    assert!(accepted < 10, "{accepted} of 50000 pass a checksum of 16 bits");
}

#[test]
fn what_a_driver_makes_when_it_switches_on_is_no_part_of_the_frame() {
    let right = Protocol::Rtu.wrap(0, 1, &[3, 2, 0, 9]);
    let noisy = [&[0, 0xFF, 0][..], &right].concat();
    let Look::Frame { noise, taken, .. } = Protocol::Rtu.look(&noisy, ONE) else { panic!("no frame") };
    assert_eq!((noise, taken), (3, noisy.len()));
    let other = [&[7][..], &right].concat();
    assert!(!matches!(Protocol::Rtu.look(&other, Awaited { silent: true, ..ONE }), Look::Frame { .. }), "anything else is damage");
}

#[test]
fn a_function_of_unknown_length_ends_with_silence() {
    let right = Protocol::Rtu.wrap(0, 1, &[100, 1, 2, 3]);
    assert_eq!(Protocol::Rtu.look(&right, ONE), Look::More);
    assert_eq!(frame(Protocol::Rtu.look(&right, Awaited { silent: true, ..ONE })).1, [100, 1, 2, 3]);
    assert!(matches!(Protocol::Rtu.look(&[1; 300], ONE), Look::Wrong(_)));
}

#[test]
fn a_header_that_announces_nonsense_is_wrong_at_once() {
    for header in ["000100010005 01", "000100000002 01", "0001000000ff 01", "00010000ffff 01"] {
        assert!(matches!(Protocol::Tcp.look(&hex(&header.replace(' ', "")), ONE), Look::Wrong(_)), "{header}");
    }
}
