//! The example in FORMAT.md is what the encoder writes, byte for byte.

use super::key;
use crate::*;

fn batch() -> Batch {
    let reading = |channel, value| NumberedReading { channel, run: 1, index: 41, value, quality: 0 };
    let number = |mantissa, exponent| Value::Number(Decimal { mantissa, exponent });
    let observation = NumberedObservation {
        moment: Moment { boot: 0x1122_3344_5566_7788, monotonic_ns: 2_000_000_000 },
        at: DeviceTime::NotTold,
        readings: vec![reading(0, number(80, 0)), reading(1, number(366, -1)), reading(2, Value::Absent(Absence::SensorOff))],
    };
    Batch {
        header: Header {
            gateway: GatewayId::new("ward-3").unwrap(),
            key: BatchKey { life: 0x0123_4567_89ab_cdef, epoch: 2, class: Class::Numeric, sequence: 0 },
            previous: Digest::default(),
        },
        content: Content::Numerics(vec![InstanceNumerics { instance: "bed-1".into(), late: false, observations: vec![observation] }]),
    }
}

/// How many bytes, and what they say.
const MEANING: &[(usize, &str)] = &[
    (2, "magic \"WG\""),
    (1, "format 0"),
    (1, "class 2, numeric"),
    (7, "gateway \"ward-3\""),
    (8, "life 0123456789abcdef"),
    (1, "epoch 2"),
    (1, "sequence 0, so no digest of a batch before it"),
    (1, "body stored"),
    (1, "1 instance"),
    (6, "\"bed-1\""),
    (1, "not late"),
    (1, "1 observation"),
    (8, "its boot 1122334455667788"),
    (1, "  column: no change of boot"),
    (5, "its moment 2,000,000,000 ns"),
    (1, "  column: no step from there"),
    (1, "  column: device time not told"),
    (1, "1 shape"),
    (1, "  of 3 tracks"),
    (1, "  first channel 0"),
    (1, "  column: each next channel is one higher"),
    (1, "  first run 1"),
    (1, "  column: each next run is the same"),
    (1, "column: the observation uses shape 0"),
    (1, "first index of the first track: 41"),
    (1, "column: the other tracks begin there too"),
    (4, "column, each: number, number, absent"),
    (3, "column, each: exponents 0, -1"),
    (5, "column, each: first mantissas 80, 366"),
    (2, "column, all the same: absence 4, sensor-off"),
    (1, "column: quality 0"),
    (16, "MAC"),
];

#[test]
fn the_example_in_the_format_is_what_is_written() {
    let encoded = encode(&batch(), &key()).unwrap();
    let mut left = encoded.bytes.as_slice();
    let mut drawn = String::new();
    for &(n, meaning) in MEANING {
        let (bytes, rest) = left.split_at(n);
        left = rest;
        let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        drawn += &format!("{hex:34}{meaning}\n");
    }
    assert!(left.is_empty(), "{} bytes without a meaning", left.len());
    drawn += &format!("\ndigest {}\n", encoded.digest);
    let format = include_str!("../../FORMAT.md");
    assert!(format.contains(&format!("```\n{drawn}```")), "FORMAT.md should draw the example so:\n{drawn}");
}
