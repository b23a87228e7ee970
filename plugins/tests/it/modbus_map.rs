//! Maps from text, values from registers, requests from maps.

use modbus_map::decode::{Order, join, places_for};
use modbus_map::map::{Defaults, Function, Row, Use, read};
use modbus_map::plan::{Limits, plan};
use wardgate_sdk::*;

use crate::random::{Random, mutate};

const DEFAULTS: Defaults = Defaults { server: 1, every_ms: 1000, order: Order { low_word_first: false, low_byte_first: false } };
pub const SMC: &str = include_str!("../../modbus-map/maps/smc-hrs.map");
const SHIPPED: [&str; 4] = [
    SMC,
    include_str!("../../modbus-map/maps/tsi-rpc30.map"),
    include_str!("../../modbus-map/maps/tsi-rpm20.map"),
    include_str!("../../modbus-map/maps/apc-smart-ups.map"),
];

pub fn rows(text: &str) -> Vec<Row> {
    read(text, DEFAULTS).unwrap_or_else(|e| panic!("{e}"))
}

fn value(form: &str, words: &[u16]) -> Value {
    rows(&format!("x holding 0 {form}"))[0].form.value(words)
}

fn number(mantissa: i64, exponent: i8) -> Value {
    Value::Number(Decimal::new(mantissa, exponent))
}

#[test]
fn every_type_order_scale_and_code() {
    let f = |x: f32| [(x.to_bits() >> 16) as u16, x.to_bits() as u16];
    let d = |x: f64| [48, 32, 16, 0].map(|shift| (x.to_bits() >> shift) as u16);
    let absent = Value::Absent;
    let cases: Vec<(&str, Vec<u16>, Value)> = vec![
        ("u16", vec![0xFFFF], number(65535, 0)),
        ("s16 scale 0.1", vec![0xFFFB], number(-5, -1)),
        ("s16 scale 0.10", vec![42], number(420, -2)),
        ("u16 scale 0.01", vec![31], number(31, -2)),
        ("u16 scale 100", vec![3], number(300, 0)),
        ("u16 scale 1e2", vec![3], number(3, 2)),
        ("u16 scale -1", vec![3], number(-3, 0)),
        ("s16 scale 0.1 offset -273.15", vec![425], number(-23065, -2)),
        ("u32", vec![0x0001, 0x0002], number(0x1_0002, 0)),
        ("u32 order CDAB", vec![0x0001, 0x0002], number(0x2_0001, 0)),
        ("u32 order BADC", vec![0x0001, 0x0002], number(0x0100_0200, 0)),
        ("u32 order DCBA", vec![0x0001, 0x0002], number(0x0200_0100, 0)),
        ("s32", vec![0xFFFF, 0xFFFE], number(-2, 0)),
        ("s64 order CDAB", vec![0xFFFE, 0xFFFF, 0xFFFF, 0xFFFF], number(-2, 0)),
        ("u64", vec![0x7FFF, 0xFFFF, 0xFFFF, 0xFFFF], number(i64::MAX, 0)),
        ("u64", vec![0x8000, 0, 0, 0], absent(Absence::OverRange)),
        ("s64 scale 0.1", vec![0x8000, 0, 0, 0], number(i64::MIN, -1)),
        ("u16 scale /512", vec![0xC800], number(100_000, -3)),
        ("u16 scale /512", vec![1], number(2, -3)),
        ("u16 scale /512 places 9", vec![1], number(1_953_125, -9)),
        ("s16 scale /128", vec![0xFFFF], number(-8, -3)),
        ("u16 scale 9/5 offset 32", vec![10], number(50, 0)),
        ("f32", f(0.1).to_vec(), number(1, -1)),
        ("f32 scale 0.1", f(-18.25).to_vec(), number(-1825, -3)),
        ("f32 order CDAB", vec![f(36.6)[1], f(36.6)[0]], number(366, -1)),
        ("f32", f(f32::NAN).to_vec(), absent(Absence::Unknown)),
        ("f32 absent nan=sensor-fault", f(f32::NAN).to_vec(), absent(Absence::SensorFault)),
        ("f32", f(f32::INFINITY).to_vec(), absent(Absence::OverRange)),
        ("f32", f(f32::NEG_INFINITY).to_vec(), absent(Absence::UnderRange)),
        ("f64", d(0.1 + 0.2).to_vec(), number(30_000_000_000_000_004, -17)),
        ("f64", d(1e200).to_vec(), absent(Absence::OverRange)),
        ("f64", d(1e-200).to_vec(), absent(Absence::NotAtThisResolution)),
        ("s16 scale 0.1 absent 0x8000=sensor-fault 32767=over-range -1=sensor-off", vec![0x8000], absent(Absence::SensorFault)),
        ("s16 absent 0x8000=sensor-fault 32767=over-range -1=sensor-off", vec![32767], absent(Absence::OverRange)),
        ("s16 absent 0x8000=sensor-fault 32767=over-range -1=sensor-off", vec![0xFFFF], absent(Absence::SensorOff)),
        ("enum values 0=off 1=on", vec![1], Value::Code(1)),
        ("enum values 0=off 1=on", vec![9], Value::Code(9)),
        ("enum[4..6]", vec![0b0101_0000], Value::Code(5)),
        ("enum32", vec![1, 0], Value::Code(65536)),
        ("bits", vec![0xA5A5], Value::Bits(0xA5A5)),
        ("bits[15]", vec![0x8000], Value::Bits(1)),
        ("bits32[16..19]", vec![0x000C, 0xFFFF], Value::Bits(0xC)),
        ("bits64", vec![0xFFFF; 4], Value::Bits(u64::MAX)),
        ("u16[0..11] scale 0.1", vec![0xF123], number(0x123, -1)),
        ("s16[0..11]", vec![0x0FFF], number(-1, 0)),
    ];
    for (form, words, expected) in cases {
        assert_eq!(value(form, &words), expected, "{form} {words:?}");
    }
    assert_eq!(rows("door discrete 5 bit")[0].form.value(&[1]), Value::Bits(1));
    assert_eq!(rows("door coil 5 enum values 0=closed 1=open")[0].form.value(&[1]), Value::Code(1));
    assert_eq!(join(&[1, 2, 3, 4], Order { low_word_first: true, low_byte_first: true }), 0x0400_0300_0200_0100);
}

#[test]
fn a_ratio_keeps_every_raw_value_apart_and_tells_its_step() {
    assert_eq!([(1, 512), (1, 32), (1, 10), (1, 1), (3, 2), (1, 1000), (1, 1001)].map(|(n, d)| places_for(n, d)), [3, 2, 1, 0, 0, 3, 4]);
    let form = rows("x holding 0 u16 scale /512")[0].form.clone();
    for raw in 0..=u16::MAX {
        let Value::Number(d) = form.value(&[raw]) else { panic!("no number") };
        let back = (d.mantissa * 512 + 500).div_euclid(1000); // nearest
        assert_eq!(back, i64::from(raw));
    }
    let Use::Channel(meaning) = &rows("x holding 0 u16 scale /512 unit %")[0].used else { panic!("a channel") };
    assert_eq!(meaning.facts, [fact("resolution", "/512")]);
}

#[test]
fn decimals_never_go_through_binary_floating_point() {
    let mut random = Random(11);
    let form = rows("x holding 0 s64 scale 0.001")[0].form.clone();
    for _ in 0..2000 {
        let n = random.next() as i64;
        let words = [48, 32, 16, 0].map(|shift| (n >> shift) as u16);
        assert_eq!(form.value(&words), number(n, -3));
    }
}

#[test]
fn a_map_says_what_each_row_is() {
    let rows = rows(SMC);
    let temperature = &rows[0];
    assert_eq!((temperature.function, temperature.address, temperature.every_ms), (Function::Holding, 0, 1000));
    let Use::Channel(meaning) = &temperature.used else { panic!("a channel") };
    assert_eq!((meaning.name.as_str(), meaning.unit.as_str(), meaning.kind), ("temperature", "Cel", Kind::Numeric));
    assert_eq!(rows[12].every_ms, 10_000);
    let Use::Alert { text, priority, .. } = &rows[13].used else { panic!("an alert") };
    assert_eq!((text.as_str(), *priority), ("operation stop alarm", Priority::Medium));
    let of = |text| read(text, DEFAULTS).expect("a map").remove(0);
    let row = of("all server 7 order CDAB every 2m\n  x 4 0xFFFE u32 every 500ms server 9 # comment\n");
    assert_eq!(
        (row.server, row.function, row.address, row.every_ms, row.form.order.low_word_first),
        (9, Function::Input, 65534, 500, true)
    );
    let Use::Channel(meaning) = of("x input 1 u16 unit \"mm[Hg]\" code mdc:150344 label \"bed \\# 3\"").used else { panic!("a channel") };
    assert_eq!((meaning.unit.as_str(), meaning.code), ("mm[Hg]", Some(mdc(150_344))));
}

#[test]
fn an_error_names_the_line_the_word_and_what_is_allowed() {
    for (text, says) in [
        ("", "setting \"map\": it has no rows"),
        ("# nothing\n\n", "setting \"map\": it has no rows"),
        ("\nX holding 0 u16", "line 2: \"X\" is not a name: 1 to 40 of a-z 0-9 - _, a letter first"),
        ("x", "line 1: \"\" is none of coil, discrete, holding, input, 1, 2, 3, 4"),
        ("x hold 0 u16", "line 1: \"hold\" is none of coil"),
        ("x holding 40001.5 u16", "line 1: \"40001.5\" is not an address from 0 to 65535"),
        ("x holding 70000 u16", "line 1: \"70000\" is not an address"),
        ("x holding 0 s17", "line 1: \"s17\" is no type; allowed: u16 s16"),
        ("x holding 0 bit", "line 1: \"bit\" is no type"),
        ("x coil 0 u16", "line 1: a coil or discrete input is \"bit\" or \"enum\", not \"u16\""),
        ("x holding 65535 u32", "line 1: its last register lies behind 65535"),
        ("x holding 0 u16[3..16]", "line 1: \"u16[3..16]\": a field is [low..high] or [bit], within 16 bits"),
        ("x holding 0 u16[5..3]", "line 1: \"u16[5..3]\""),
        ("x holding 0 f32[3]", "line 1: \"f32[3]\": a float has no field of bits"),
        ("x holding 0 u16 scale", "line 1: \"scale\" wants a word behind it"),
        ("x holding 0 u16 scale 0", "line 1: \"0\" is not a scale: 0.1, 1e-3, /512 or 3/7, and not 0"),
        ("x holding 0 u16 scale 1/0", "line 1: \"1/0\" is not a scale"),
        ("x holding 0 f32 scale /10", "line 1: a float takes a decimal scale"),
        ("x holding 0 u16 places 2", "line 1: places is for a scale like /512"),
        ("x holding 0 bits scale 2", "line 1: scale, offset and unit are for numbers"),
        ("x holding 0 u16 values 0=off", "line 1: values are for enum and bits"),
        ("x holding 0 u16 absent 0x10000=unknown", "line 1: \"0x10000\" is not a value of 16 bits"),
        ("x holding 0 u16 absent 5=broken", "line 1: \"broken\" is none of not-measured, not-at-this-resolution"),
        ("x holding 0 u16 absent", "line 1: absent and values want words like 0x8000=sensor-fault behind them"),
        ("x holding 0 u16 colour red", "line 1: \"colour\" means nothing here; allowed: every, server, order, scale"),
        ("x holding 0 u16 every 5", "line 1: \"5\" is not a period from 100ms to 24h, like 500ms, 5s, 2m"),
        ("x holding 0 u16 every 1ms", "line 1: \"1ms\" is not a period"),
        ("x holding 0 u16 server 248", "line 1: \"248\" is not a server from 0 to 247"),
        ("x holding 0 u32 order big", "line 1: \"big\" is none of ABCD, CDAB, BADC, DCBA"),
        ("x holding 0 u16\nx holding 1 u16", "line 2: \"x\" is named twice"),
        ("x holding 0 u16 label \"open", "line 1: a quote is not closed"),
        ("all every 5s colour red", "line 1: \"colour\" means nothing after \"all\""),
        ("alert a holding 0 u16", "line 1: an alert is one bit (bits[n], or bit of a coil or discrete input) or one code of an enum"),
        ("alert a holding 0 enum", "line 1: an alert is one bit"),
        ("alert a holding 0 bits[1] is 1", "line 1: an alert is one bit"),
        ("alert a holding 0 enum is 3 when 1", "line 1: an alert is one bit"),
        ("alert a holding 0 enum is 70000", "line 1: \"70000\" is not a value of 16 bits"),
        ("x holdng 0 u16", "line 1: \"holdng\" is not known: write \"holding\""),
        ("x holding 0 uint16", "line 1: \"uint16\" is no type: write \"u16\""),
        ("x holding 0 INT16[0..3]", "line 1: \"INT16[0..3]\" is no type: write \"s16[0..3]\""),
        ("x holding 0 enmu", "line 1: \"enmu\" is no type: write \"enum\""),
        ("x holding 0 u16 sacle 2", "line 1: \"sacle\" means nothing here: write \"scale\""),
        ("x holding 0 u16 absent 5=sensor-falt", "line 1: \"sensor-falt\" is not known: write \"sensor-fault\""),
        ("all evry 5s", "line 1: \"evry\" means nothing after \"all\": write \"every\""),
        ("alert a holding 0 bits[1] priority meduim", "line 1: \"meduim\" is not known: write \"medium\""),
        ("alert a holding 0 bits[1] priority urgent", "line 1: \"urgent\" is none of high, medium, low, information"),
        ("alert a holding 0 bits[1] unit Cel", "line 1: \"unit\" means nothing here; allowed: every, server, order, text"),
    ] {
        let error = read(text, DEFAULTS).expect_err(text).to_string();
        assert!(error.contains(says), "{text:?}: {error}");
    }
    let many: String = (0..257).map(|n| format!("x{n} holding {n} u16\n")).collect();
    assert!(read(&many, DEFAULTS).is_err_and(|e| e.to_string().contains("line 257: more than 256 rows")));
}

/// What the remedy of an error says, written instead, is read.
#[test]
fn the_words_that_errors_advise_are_right() {
    for text in
        ["x holdng 0 u16", "x holding 0 uint16", "x holding 0 u16 sacle 2", "x holding 0 u16 absent 5=sensor-falt", "x holding 0 enmu"]
    {
        let error = read(text, DEFAULTS).expect_err(text).to_string();
        let words: Vec<&str> = error.split('"').collect();
        let [.., wrong, _, right, ""] = words[..] else { panic!("{error}") };
        let wrong = if error.contains("means nothing") || error.contains("is no") { words[3] } else { wrong };
        read(&text.replacen(wrong, right, 1), DEFAULTS).unwrap_or_else(|e| panic!("{text}: {error}, and then {e}"));
    }
}

#[test]
fn every_map_that_is_shipped_can_be_read_and_says_where_it_comes_from() {
    for text in SHIPPED {
        assert!(rows(text).len() > 1 && text.contains("manual") || text.contains("MPAO"), "{text}");
    }
    let status = &rows("status holding 79 enum\nalert low holding 79 enum is 2");
    let Use::Alert { active, .. } = &status[1].used else { panic!("an alert") };
    assert!(active.holds(2) && !active.holds(1) && !active.holds(0));
}

#[test]
fn no_text_panics() {
    let mut random = Random(8);
    for n in 0..SMC.len() {
        if SMC.is_char_boundary(n) {
            drop(read(&SMC[..n], DEFAULTS));
        }
    }
    // every map that is shipped, and one with every word that a map may have
    let corpus: Vec<&str> = SHIPPED.iter().copied().chain([SMC]).collect();
    for n in 0..100_000 {
        drop(read(&String::from_utf8_lossy(&mutate(corpus[n % corpus.len()].as_bytes(), &mut random)), DEFAULTS));
    }
}

#[test]
fn neighbours_share_a_request_and_gaps_are_not_crossed() {
    let map = "a holding 0 u16\nb holding 1 u32\nc holding 2 bits[3]\nd holding 4 u16\ne input 3 u16\nf holding 0 u16 server 2\n\
               g holding 5 u16 every 5s\nh coil 8 bit\ni coil 9 bit\nj holding 100 u64";
    let rows = rows(map);
    let requests = |gap, registers| {
        let plan = plan(&rows, Limits { gap, registers });
        plan.requests.iter().map(|r| (rows[r.rows[0]].name.clone(), r.group, r.first, r.count, r.rows.len())).collect::<Vec<_>>()
    };
    let of = |list: &[(&str, usize, u16, u16, usize)]| list.iter().map(|r| (r.0.to_owned(), r.1, r.2, r.3, r.4)).collect::<Vec<_>>();
    let rest = [("e", 0, 3, 1, 1), ("f", 0, 0, 1, 1), ("g", 1, 5, 1, 1)];
    let none = [&[("h", 0, 8, 2, 2), ("a", 0, 0, 3, 3), ("d", 0, 4, 1, 1), ("j", 0, 100, 4, 1)], &rest[..]].concat();
    assert_eq!(requests(0, 125), of(&none));
    let one = [&[("h", 0, 8, 2, 2), ("a", 0, 0, 5, 4), ("j", 0, 100, 4, 1)], &rest[..]].concat();
    assert_eq!(requests(1, 125), of(&one));
    let all = [&[("h", 0, 8, 2, 2), ("a", 0, 0, 104, 5)], &rest[..]].concat();
    assert_eq!(requests(125, 125), of(&all));
    let few = [&[("h", 0, 8, 2, 2), ("a", 0, 0, 3, 3), ("d", 0, 4, 1, 1), ("j", 0, 100, 4, 1)], &rest[..]].concat();
    assert_eq!(requests(125, 4), of(&few));
}

/// Whatever the map: each request within its bounds, each row wholly in one request, no register read that no row names (gap 0).
#[test]
fn plans_of_random_maps_hold_their_bounds() {
    let mut random = Random(21);
    for _ in 0..200 {
        let types = ["u16", "u32", "u64"];
        let map: String = (0..60)
            .map(|n| format!("x{n} {} {} {}\n", ["holding", "input"][random.below(2)], random.below(200), types[random.below(3)]))
            .collect();
        let rows = rows(&map);
        let registers = 4 + random.below(122) as u16;
        let plan = plan(&rows, Limits { gap: 0, registers });
        let mut seen = vec![0; rows.len()];
        for r in &plan.requests {
            assert!((1..=registers).contains(&r.count));
            let named = |address: u16| r.rows.iter().any(|n| (rows[*n].address..rows[*n].address + rows[*n].form.words).contains(&address));
            assert!((r.first..r.first + r.count).all(named));
            for n in &r.rows {
                seen[*n] += 1;
                assert!(rows[*n].address >= r.first && rows[*n].address + rows[*n].form.words <= r.first + r.count);
                assert_eq!(rows[*n].function, rows[r.rows[0]].function);
            }
        }
        assert!(seen.iter().all(|n| *n == 1));
    }
}
