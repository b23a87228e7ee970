//! A plugin that does what the bytes it receives say: count, keep, and every misdeed that the sandbox must bear.

use std::cell::RefCell;

wit_bindgen::generate!({
    inline: "package wardgate:hostile; world hostile {
        import wardgate:device/gateway@0.1.0; import wardgate:device/modbus@0.1.0; import wardgate:device/serial@0.1.0;
        export wardgate:device/lifecycle@0.1.0; export wardgate:device/modbus-events@0.1.0; export wardgate:device/serial-events@0.1.0; }",
    path: "../../../wit",
    generate_all,
});

use exports::wardgate::device::{lifecycle, modbus_events, serial_events};
use wardgate::device::gateway::{self, Level};
use wardgate::device::modbus::{Failure, Register, Request, Response, Span, submit};
use wardgate::device::serial;
use wardgate::device::types::*;

type Done = Result<(), Problem>;

const MIB: usize = 1 << 20;
/// Comes every second, or every 10 ms; each time the order of the settings is obeyed.
const SECOND: Tag = 1000;
const STORM: Tag = 1001;

thread_local! {
    static COUNT: RefCell<u32> = const { RefCell::new(0) };
    /// The newest command that was done.
    static DONE: RefCell<String> = const { RefCell::new(String::new()) };
    static EACH_SECOND: RefCell<String> = const { RefCell::new(String::new()) };
    /// What is obeyed whenever a line comes up.
    static AT_LINK: RefCell<String> = const { RefCell::new(String::new()) };
}

struct Hostile;

fn count(up: u32) -> u32 {
    COUNT.with_borrow_mut(|count| {
        *count += up;
        *count
    })
}

fn say(what: &str) {
    gateway::log(Level::Info, what);
}

fn emit(channel: Channel, n: u32) {
    emit_at(DeviceTime::NotTold, channel, n);
}

fn emit_at(at: DeviceTime, channel: Channel, n: u32) {
    let value = Value::Number(Decimal { mantissa: n.into(), exponent: 0 });
    gateway::emit(&[Observation { at, readings: vec![Reading { channel, value, quality: Quality::empty() }] }]);
}

/// Both in one call, as a plugin should.
fn emit_and_keep(n: u32) {
    emit(0, n);
    DONE.with_borrow(|done| gateway::keep(&[&n.to_le_bytes(), done.as_bytes()].concat()));
}

fn problem(fatal: bool) -> Done {
    Err(Problem { cause: Cause::DeviceAnswer, detail: "the device said no".into(), fatal })
}

#[inline(never)]
fn decode_frame_without_end(n: u32) -> u32 {
    assert!(n < 1, "frame {n} has no end");
    n
}

#[inline(never)]
#[allow(unconditional_recursion)]
fn descend(depth: &[u8; 512]) -> u8 {
    let mut deeper = *depth;
    deeper[0] = deeper[0].wrapping_add(1);
    descend(std::hint::black_box(&deeper)).wrapping_add(deeper[1])
}

fn obey(order: &str) -> Done {
    match order {
        "count" => emit_and_keep(count(1)),
        "keep then panic" => {
            emit_and_keep(count(1000));
            say("about to fail");
            decode_frame_without_end(count(0));
        }
        "loop" => loop {
            std::hint::black_box(0);
        },
        "many calls" => (0..100_000).for_each(|_| gateway::cancel_timer(0)),
        "many bytes" => (0..100).for_each(|_| gateway::log(Level::Info, &"x".repeat(MIB / 50))),
        "many bytes at once" => gateway::keep(&vec![0; MIB + MIB / 2]),
        "many small things" => gateway::identify(&vec![Fact { name: String::new(), value: String::new() }; MIB / 20]),
        "memory" => {
            let mut hoard = Vec::new();
            loop {
                hoard.push(std::hint::black_box(vec![1_u8; MIB / 4]));
            }
        }
        "stack" => say(&descend(&[0; 512]).to_string()),
        "escape" => gateway::log(Level::Warn, "\u{1b}[2Jall is well\nroot: forged"),
        "undescribed" => {
            emit_and_keep(count(1000));
            emit(9, 1);
        }
        "large state" => gateway::keep(&[0; 65]),
        "emit flood" => {
            (0..4000).for_each(|n| emit(0, n));
            gateway::set_timer(STORM, 0);
        }
        "log flood" => {
            (0..900).for_each(|_| gateway::log(Level::Error, &"all is lost ".repeat(80)));
            gateway::set_timer(STORM, 0);
        }
        "alert flood" => {
            (0..2000).for_each(|id| gateway::raise(&alarm(id)));
            gateway::set_timer(STORM, 0);
        }
        "burn" => {
            (0..20_000_000).for_each(|n| _ = std::hint::black_box(n));
            gateway::set_timer(STORM, 0);
        }
        "timer storm" => {
            (0..60).for_each(|tag| gateway::set_timer(2000 + tag, 0));
            gateway::set_timer(STORM, 0);
        }
        "describe storm" => {
            (0..200).for_each(|_| {
                describe(0, "count", Kind::Numeric, None);
                emit(0, 1);
            });
            gateway::set_timer(STORM, 0);
        }
        "describe too many" => (10..14).for_each(|channel| describe(channel, &format!("c{channel}"), Kind::Numeric, None)),
        "name with escapes" => describe(0, "count\u{1b}[2J", Kind::Numeric, None),
        "huge text" => gateway::report(Health::Healthy, &"x".repeat(MIB / 2)),
        "strange tags" => {
            gateway::answer(77, Ok(b"nobody asked"));
            gateway::cancel_timer(77);
            wardgate::device::modbus::cancel(77);
        }
        "beyond the grant" => {
            (0..4).for_each(|n| submit(n, 1, &Request::WriteSingleRegister(Register { address: 11, value: 999 })));
            (4..6).for_each(|n| serial::write(n, b"STOP\r"));
        }
        "request flood" => (0..100).for_each(|n| submit(n, 1, &Request::WriteSingleRegister(Register { address: 11, value: 999 }))),
        "problem" => {
            emit_and_keep(count(1));
            return problem(false);
        }
        "fatal" => {
            emit_and_keep(count(1000));
            return problem(true);
        }
        "timer" => gateway::set_timer(1, 20),
        "timers" => (0..65).for_each(|tag| gateway::set_timer(tag, 60_000)),
        "durable" => {
            emit_and_keep(count(1));
            gateway::when_durable(5);
        }
        "ask" => submit(7, 1, &Request::ReadHoldingRegisters(Span { address: 0, count: 2 })),
        "write" => serial::write(3, b"?ID\r"),
        "report" => gateway::report(Health::Degraded, "paper\u{1b}[31m out"),
        "alarm" => gateway::raise(&alarm(7)),
        "alarm of count" => gateway::raise(&Alert { channel: Some(0), ..alarm(8) }),
        "emit much" => (0..3000).for_each(|n| emit(0, 1000 + n)),
        "missed" => gateway::missed(0, Some(2), Missing::DeviceOff),
        other => match other.strip_prefix("identify ") {
            Some(serial) => gateway::identify(&[Fact { name: "serial".into(), value: serial.into() }]),
            None => stamped(other),
        },
    }
    Ok(())
}

/// `at utc 123`: a count with the device's own time.
fn stamped(order: &str) {
    let at = order.strip_prefix("at ").and_then(|rest| {
        let (kind, ns) = rest.split_once(' ')?;
        match kind {
            "utc" => Some(DeviceTime::Utc(ns.parse().ok()?)),
            "local" => Some(DeviceTime::Local(ns.parse().ok()?)),
            "counter" => Some(DeviceTime::Counter(ns.parse().ok()?)),
            _ => None,
        }
    });
    match at {
        Some(at) => emit_at(at, 0, 200),
        None => say(&format!("unknown order {order}")),
    }
}

/// Each line that comes up may lead to another device.
fn at_link(state: LinkState) -> Done {
    AT_LINK.with_borrow(|order| if order.is_empty() || state == LinkState::Down { Ok(()) } else { obey(order) })
}

fn alarm(id: u32) -> Alert {
    Alert {
        id,
        at: DeviceTime::NotTold,
        channel: None,
        priority: Priority::High,
        concern: Concern::Physiological,
        state: AlertState::Active,
        code: None,
        low: None,
        high: None,
        text: "asystole".into(),
    }
}

fn describe(channel: Channel, name: &str, kind: Kind, shape: Option<WaveformShape>) {
    let meaning = Description { name: name.into(), kind, code: None, unit: "1".into(), shape, personal: false, facts: vec![] };
    gateway::describe(channel, &meaning);
}

impl lifecycle::Guest for Hostile {
    fn open(_: Moment, start: lifecycle::Opening) -> Done {
        std::panic::set_hook(Box::new(|why| gateway::log(Level::Error, &why.to_string())));
        let saved = start.saved.unwrap_or_else(|| vec![0; 4]);
        let (count, done) = saved.split_first_chunk().expect("four bytes were kept, and perhaps an id");
        let kept = u32::from_le_bytes(*count);
        COUNT.set(kept);
        DONE.set(String::from_utf8(done.to_vec()).expect("an id is text"));
        let one = Decimal { mantissa: 1, exponent: 0 };
        describe(0, "count", Kind::Numeric, None);
        describe(
            1,
            "wave",
            Kind::Waveform,
            Some(WaveformShape { scale: one, offset: one, period_numerator: 1, period_denominator: 200, bits: 8 }),
        );
        let about = |name: &str| start.about.iter().find(|fact| fact.name == name).map_or("none", |fact| fact.value.as_str());
        say(&format!("open with {kept}, saved by {}, as {}", about("saved-by"), about("instance")));
        let setting = |name: &str| start.settings.iter().find(|fact| fact.name == name).map(|fact| fact.value.as_str());
        if let Some(order) = setting("each-second") {
            EACH_SECOND.set(order.to_owned());
            gateway::set_timer(SECOND, 1000);
        }
        AT_LINK.set(setting("at-link").unwrap_or_default().to_owned());
        setting("at-open").map_or(Ok(()), obey)
    }
    fn timer(_: Moment, tag: Tag) -> Done {
        if tag == SECOND {
            gateway::set_timer(SECOND, 1000);
        }
        if tag == SECOND || tag == STORM {
            return EACH_SECOND.with_borrow(|order| obey(order));
        }
        emit(0, tag);
        Ok(())
    }
    fn durable(_: Moment, tag: Tag) -> Done {
        say(&format!("durable {tag}"));
        emit(0, tag);
        Ok(())
    }
    fn command(_: Moment, tag: Tag, id: String, name: String, _: Vec<u8>) -> Done {
        let again = DONE.with_borrow(|done| *done == id);
        match name.as_str() {
            "add" | "later" => {
                if !again {
                    DONE.set(id);
                    emit_and_keep(count(1));
                }
                if again || name == "add" {
                    gateway::answer(tag, Ok(count(0).to_string().as_bytes()));
                }
            }
            "fatal" => return problem(true),
            "refuse" => gateway::answer(tag, Err(&problem(false).unwrap_err())),
            "never" => {}
            _ => gateway::answer(tag, Ok(name.as_bytes())),
        }
        Ok(())
    }
    fn close(_: Moment) -> Done {
        emit_and_keep(count(1));
        Ok(())
    }
}

impl modbus_events::Guest for Hostile {
    fn link_changed(_: Moment, state: LinkState) -> Done {
        at_link(state)
    }
    fn reply(_: Moment, tag: Tag, outcome: Result<Response, Failure>) -> Done {
        say(&format!("reply {tag} {outcome:?}"));
        emit(0, tag);
        Ok(())
    }
}

impl serial_events::Guest for Hostile {
    fn link_changed(_: Moment, state: LinkState) -> Done {
        emit(0, if state == LinkState::Up { 100 } else { 101 });
        at_link(state)
    }
    fn written(_: Moment, tag: Tag, outcome: Result<(), serial::Failure>) -> Done {
        say(&format!("written {tag} {outcome:?}"));
        emit(0, tag);
        Ok(())
    }
    fn received(_: Moment, bytes: Vec<u8>) -> Done {
        // a busy machine joins what was sent apart
        String::from_utf8_lossy(&bytes).trim_end_matches('\n').split('\n').try_for_each(obey)
    }
    fn faulted(_: Moment, _: serial::LineFault) -> Done {
        emit(0, 102);
        Ok(())
    }
}

export!(Hostile);
