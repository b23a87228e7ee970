//! The events of a golden case, from JSON. What does not follow `plugins/golden.md` panics with what it is.

use serde_json::Value as Json;
use wardgate::contract::types::{LinkState, Moment, Tag};
use wardgate::contract::{Event, modbus, serial};

pub enum Step {
    Open { kept: bool },
    Event(Event),
}

pub fn moment(json: &Json) -> Moment {
    Moment { boot: number(&json["boot"]), monotonic_ns: number(&json["monotonic-ns"]), wall: json["wall"].as_i64() }
}

pub fn step(json: &Json) -> Step {
    let (name, with) = case(json);
    let tag = || -> Tag { number(&with["tag"]) };
    let event = match name {
        "open" => return Step::Open { kept: one_of(with, &[("new", false), ("kept", true)]) },
        "lifecycle.timer" => Event::Timer(tag()),
        "lifecycle.durable" => Event::Durable(tag()),
        "lifecycle.command" => {
            Event::Command { tag: tag(), id: text(&with["id"]), name: text(&with["name"]), argument: bytes(&with["argument"]) }
        }
        "lifecycle.close" => Event::Close,
        "modbus-events.link-changed" => Event::ModbusLink(link(&with["state"])),
        "modbus-events.reply" => Event::ModbusReply(tag(), outcome(&with["outcome"], response, modbus_failure)),
        "serial-events.link-changed" => Event::SerialLink(link(&with["state"])),
        "serial-events.written" => Event::SerialWritten(tag(), outcome(&with["outcome"], |_| (), serial_failure)),
        "serial-events.received" => Event::SerialReceived(bytes(&with["bytes"])),
        "serial-events.faulted" => {
            use serial::LineFault as F;
            let faults = [("parity", F::Parity), ("framing", F::Framing), ("overrun", F::Overrun), ("break-seen", F::BreakSeen)];
            Event::SerialFaulted(one_of(&with["fault"], &faults))
        }
        other => panic!("no event {other}"),
    };
    Step::Event(event)
}

/// Without payload a text, with payload an object of one name.
fn case(json: &Json) -> (&str, &Json) {
    match json {
        Json::String(name) => (name, &Json::Null),
        Json::Object(fields) if fields.len() == 1 => fields.iter().next().map(|(name, value)| (name.as_str(), value)).expect("one"),
        _ => panic!("{json} is no case"),
    }
}

fn one_of<T: Copy>(json: &Json, cases: &[(&str, T)]) -> T {
    cases.iter().find(|(name, _)| json.as_str() == Some(name)).unwrap_or_else(|| panic!("{json} is no such case")).1
}

fn number<T: TryFrom<u64>>(json: &Json) -> T {
    json.as_u64().and_then(|n| T::try_from(n).ok()).unwrap_or_else(|| panic!("{json} is no number of its type"))
}

fn text(json: &Json) -> String {
    json.as_str().unwrap_or_else(|| panic!("{json} is no text")).to_owned()
}

fn bytes(json: &Json) -> Vec<u8> {
    let hex = text(json);
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal")).collect()
}

fn list<T>(json: &Json, each: impl Fn(&Json) -> T) -> Vec<T> {
    json.as_array().unwrap_or_else(|| panic!("{json} is no list")).iter().map(each).collect()
}

fn link(json: &Json) -> LinkState {
    one_of(json, &[("up", LinkState::Up), ("down", LinkState::Down)])
}

fn outcome<T, E>(json: &Json, ok: impl Fn(&Json) -> T, err: impl Fn(&Json) -> E) -> Result<T, E> {
    match case(json) {
        ("ok", value) => Ok(ok(value)),
        ("err", value) => Err(err(value)),
        _ => panic!("{json} is neither ok nor err"),
    }
}

fn response(json: &Json) -> modbus::Response {
    use modbus::Response as R;
    match case(json) {
        ("bits", bits) => R::Bits(list(bits, |bit| bit.as_bool().expect("a bit"))),
        ("registers", registers) => R::Registers(list(registers, number)),
        ("identification", all) => R::Identification(list(all, |o| modbus::Object { id: number(&o["id"]), value: bytes(&o["value"]) })),
        ("written", _) => R::Written,
        ("other", raw) => R::Other(modbus::Raw { function: number(&raw["function"]), data: bytes(&raw["data"]) }),
        (other, _) => panic!("no response {other}"),
    }
}

fn modbus_failure(json: &Json) -> modbus::Failure {
    use modbus::Failure as F;
    match case(json) {
        ("timeout", _) => F::Timeout,
        ("link-down", _) => F::LinkDown,
        ("not-granted", _) => F::NotGranted,
        ("over-rate", _) => F::OverRate,
        ("cancelled", _) => F::Cancelled,
        ("exception", code) => F::Exception(number(code)),
        ("malformed", _) => F::Malformed,
        (other, _) => panic!("no failure {other}"),
    }
}

fn serial_failure(json: &Json) -> serial::Failure {
    use serial::Failure as F;
    one_of(json, &[("link-down", F::LinkDown), ("not-granted", F::NotGranted), ("over-rate", F::OverRate), ("cancelled", F::Cancelled)])
}
