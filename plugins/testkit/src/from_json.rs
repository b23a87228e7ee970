//! The events of a golden case, from JSON. The rules stand in `plugins/golden.md`.

use serde_json::Value as Json;
use wardgate_sdk::*;

/// What may happen to a plugin in a golden case.
#[derive(Clone, Debug)]
pub enum Event {
    /// A new instance without saved state, or with what the latest `keep` that took effect said.
    Open {
        kept: bool,
    },
    Timer(Tag),
    Durable(Tag),
    Command {
        tag: Tag,
        id: String,
        name: String,
        argument: Vec<u8>,
    },
    Close,
    ModbusLink(LinkState),
    ModbusReply(Tag, Result<modbus::Response, modbus::Failure>),
    SerialLink(LinkState),
    SerialWritten(Tag, Result<(), serial::Failure>),
    SerialReceived(Vec<u8>),
    SerialFaulted(serial::LineFault),
}

type Read<T> = Result<T, String>;

pub fn event(json: &Json) -> Read<Event> {
    let (name, arguments) = case(json)?;
    let argument = |name| get(arguments, name);
    let tag = || number(argument("tag")?);
    Ok(match name {
        "open" => Event::Open { kept: choose(arguments, &[("new", false), ("kept", true)])? },
        "lifecycle.timer" => Event::Timer(tag()?),
        "lifecycle.durable" => Event::Durable(tag()?),
        "lifecycle.command" => Event::Command {
            tag: tag()?,
            id: text(argument("id")?)?,
            name: text(argument("name")?)?,
            argument: bytes(argument("argument")?)?,
        },
        "lifecycle.close" => Event::Close,
        "modbus-events.link-changed" => Event::ModbusLink(link(argument("state")?)?),
        "modbus-events.reply" => Event::ModbusReply(tag()?, outcome(argument("outcome")?, response, modbus_failure)?),
        "serial-events.link-changed" => Event::SerialLink(link(argument("state")?)?),
        "serial-events.written" => Event::SerialWritten(tag()?, outcome(argument("outcome")?, |_| Ok(()), serial_failure)?),
        "serial-events.received" => Event::SerialReceived(bytes(argument("bytes")?)?),
        "serial-events.faulted" => Event::SerialFaulted(choose(
            argument("fault")?,
            &[
                ("parity", serial::LineFault::Parity),
                ("framing", serial::LineFault::Framing),
                ("overrun", serial::LineFault::Overrun),
                ("break-seen", serial::LineFault::BreakSeen),
            ],
        )?),
        other => return Err(format!("no native runner plays {other}")),
    })
}

pub fn moment(json: &Json) -> Read<Moment> {
    let wall = get(json, "wall")?;
    Ok(Moment {
        boot: number(get(json, "boot")?)?,
        monotonic_ns: number(get(json, "monotonic-ns")?)?,
        wall: if wall.is_null() { None } else { Some(number(wall)?) },
    })
}

pub fn get<'a>(json: &'a Json, name: &str) -> Read<&'a Json> {
    json.get(name).ok_or_else(|| format!("\"{name}\" is missing in {json}"))
}

pub fn text(json: &Json) -> Read<String> {
    json.as_str().map(str::to_owned).ok_or_else(|| format!("{json} is no text"))
}

pub fn number<T: TryFrom<i128>>(json: &Json) -> Read<T> {
    let wide = json.as_i64().map(i128::from).or(json.as_u64().map(i128::from));
    wide.and_then(|n| n.try_into().ok()).ok_or_else(|| format!("{json} is no number of its type"))
}

/// A case without payload is a text, with payload an object of one name.
fn case(json: &Json) -> Read<(&str, &Json)> {
    match json {
        Json::String(name) => Ok((name, &Json::Null)),
        Json::Object(fields) if fields.len() == 1 => {
            fields.iter().next().map(|(name, value)| (name.as_str(), value)).ok_or_else(|| "an empty case".into())
        }
        _ => Err(format!("{json} is no case")),
    }
}

fn choose<T: Clone>(json: &Json, cases: &[(&str, T)]) -> Read<T> {
    let found = cases.iter().find(|(name, _)| json.as_str() == Some(name)).map(|(_, value)| value.clone());
    found.ok_or_else(|| format!("{json} is none of {:?}", cases.iter().map(|(name, _)| name).collect::<Vec<_>>()))
}

fn link(json: &Json) -> Read<LinkState> {
    choose(json, &[("up", LinkState::Up), ("down", LinkState::Down)])
}

fn bytes(json: &Json) -> Read<Vec<u8>> {
    let hex = json.as_str().filter(|h| h.len() % 2 == 0 && h.is_ascii()).ok_or_else(|| format!("{json} is no hexadecimal text"))?;
    let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).map_err(|e| e.to_string());
    (0..hex.len()).step_by(2).map(byte).collect()
}

fn list<T>(json: &Json, each: impl Fn(&Json) -> Read<T>) -> Read<Vec<T>> {
    json.as_array().ok_or_else(|| format!("{json} is no list"))?.iter().map(each).collect()
}

fn outcome<T, E>(json: &Json, ok: impl Fn(&Json) -> Read<T>, err: impl Fn(&Json) -> Read<E>) -> Read<Result<T, E>> {
    match case(json)? {
        ("ok", value) => ok(value).map(Ok),
        ("err", value) => err(value).map(Err),
        _ => Err(format!("{json} is neither ok nor err")),
    }
}

fn response(json: &Json) -> Read<modbus::Response> {
    Ok(match case(json)? {
        ("bits", bits) => modbus::Response::Bits(list(bits, |b| b.as_bool().ok_or_else(|| format!("{b} is no bool")))?),
        ("registers", registers) => modbus::Response::Registers(list(registers, number)?),
        ("identification", objects) => modbus::Response::Identification(list(objects, |o| {
            Ok(modbus::Object { id: number(get(o, "id")?)?, value: bytes(get(o, "value")?)? })
        })?),
        ("written", _) => modbus::Response::Written,
        ("other", raw) => {
            modbus::Response::Other(modbus::Raw { function: number(get(raw, "function")?)?, data: bytes(get(raw, "data")?)? })
        }
        (other, _) => return Err(format!("no response {other}")),
    })
}

fn modbus_failure(json: &Json) -> Read<modbus::Failure> {
    use modbus::Failure as F;
    Ok(match case(json)? {
        ("timeout", _) => F::Timeout,
        ("link-down", _) => F::LinkDown,
        ("not-granted", _) => F::NotGranted,
        ("over-rate", _) => F::OverRate,
        ("cancelled", _) => F::Cancelled,
        ("exception", code) => F::Exception(number(code)?),
        ("malformed", _) => F::Malformed,
        (other, _) => return Err(format!("no failure {other}")),
    })
}

fn serial_failure(json: &Json) -> Read<serial::Failure> {
    use serial::Failure as F;
    choose(json, &[("link-down", F::LinkDown), ("not-granted", F::NotGranted), ("over-rate", F::OverRate), ("cancelled", F::Cancelled)])
}
