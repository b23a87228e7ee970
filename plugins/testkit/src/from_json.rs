//! The events of a golden case, from JSON. The rules stand in `plugins/golden.md`.

use serde_json::Value as Json;
use wardgate_sdk::*;

use crate::to_json;

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
    BleLink(LinkState),
    BleDiscovered {
        mtu: u16,
        found: Vec<ble::Characteristic>,
    },
    BleReply(Tag, Result<Vec<u8>, ble::Failure>),
    BleNotified(ble::Handle, Vec<u8>),
    FilterBound(Channel, Description),
    FilterUnbound(Channel),
    FilterObserved(Observation),
    FilterSampled(Waveform),
    FilterMissed(Channel, Option<u64>, Missing),
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
        "ble-events.link-changed" => Event::BleLink(link(argument("state")?)?),
        "ble-events.discovered" => {
            Event::BleDiscovered { mtu: number(argument("mtu")?)?, found: list(argument("found")?, characteristic)? }
        }
        "ble-events.reply" => Event::BleReply(tag()?, outcome(argument("outcome")?, bytes, ble_failure)?),
        "ble-events.notified" => Event::BleNotified(number(argument("handle")?)?, bytes(argument("bytes")?)?),
        "filter-events.bound" => Event::FilterBound(number(argument("input")?)?, description(argument("meaning")?)?),
        "filter-events.unbound" => Event::FilterUnbound(number(argument("input")?)?),
        "filter-events.observed" => Event::FilterObserved(observation(argument("seen")?)?),
        "filter-events.sampled" => Event::FilterSampled(waveform(argument("block")?)?),
        "filter-events.missed" => {
            let because = by_name(
                argument("because")?,
                &[Missing::DeviceOff, Missing::NotSent, Missing::Corrupted, Missing::Overrun, Missing::Unknown],
            )?;
            Event::FilterMissed(number(argument("input")?)?, optional(argument("count")?, number)?, because)
        }
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

fn ble_failure(json: &Json) -> Read<ble::Failure> {
    use ble::Failure as F;
    match case(json)? {
        ("att", code) => number(code).map(F::Att),
        _ => by_name(json, &[F::Timeout, F::LinkDown, F::NotGranted, F::OverRate, F::NotFound, F::NotPermitted, F::Busy, F::Cancelled]),
    }
}

/// By the names that `to_json` writes.
fn by_name<T: Clone + std::fmt::Debug>(json: &Json, cases: &[T]) -> Read<T> {
    let found = cases.iter().find(|case| json.as_str() == Some(&to_json::name(case)));
    found.cloned().ok_or_else(|| format!("{json} is none of {:?}", cases.iter().map(to_json::name).collect::<Vec<_>>()))
}

fn optional<T>(json: &Json, each: impl Fn(&Json) -> Read<T>) -> Read<Option<T>> {
    if json.is_null() { Ok(None) } else { each(json).map(Some) }
}

fn flags<F: Copy>(json: &Json, empty: F, all: &[(&str, F)], join: impl Fn(F, F) -> F) -> Read<F> {
    Ok(list(json, |name| choose(name, all))?.into_iter().fold(empty, join))
}

fn characteristic(json: &Json) -> Read<ble::Characteristic> {
    use ble::Properties as P;
    let uuid = |json: &Json| Ok::<_, String>(ble::Uuid { high: number(get(json, "high")?)?, low: number(get(json, "low")?)? });
    let names = [
        ("read", P::READ),
        ("write", P::WRITE),
        ("write-without-response", P::WRITE_WITHOUT_RESPONSE),
        ("notify", P::NOTIFY),
        ("indicate", P::INDICATE),
    ];
    Ok(ble::Characteristic {
        handle: number(get(json, "handle")?)?,
        service: uuid(get(json, "service")?)?,
        uuid: uuid(get(json, "uuid")?)?,
        properties: flags(get(json, "properties")?, P::empty(), &names, |a, b| a | b)?,
    })
}

fn decimal(json: &Json) -> Read<Decimal> {
    Ok(Decimal { mantissa: number(get(json, "mantissa")?)?, exponent: number(get(json, "exponent")?)? })
}

fn time(json: &Json) -> Read<DeviceTime> {
    Ok(match case(json)? {
        ("not-told", _) => DeviceTime::NotTold,
        ("utc", t) => DeviceTime::Utc(number(t)?),
        ("local", t) => DeviceTime::Local(number(t)?),
        ("counter", t) => DeviceTime::Counter(number(t)?),
        (other, _) => return Err(format!("no device-time {other}")),
    })
}

fn value(json: &Json) -> Read<Value> {
    use Absence as A;
    let reasons = [
        A::NotMeasured,
        A::NotAtThisResolution,
        A::OverRange,
        A::UnderRange,
        A::SensorOff,
        A::SensorFault,
        A::DeviceError,
        A::Stale,
        A::ClockFault,
        A::NotConfigured,
        A::Unknown,
    ];
    Ok(match case(json)? {
        ("number", d) => Value::Number(decimal(d)?),
        ("absent", why) => Value::Absent(by_name(why, &reasons)?),
        ("code", code) => Value::Code(number(code)?),
        ("bits", bits) => Value::Bits(number(bits)?),
        ("text", t) => Value::Text(text(t)?),
        ("octets", o) => Value::Octets(bytes(o)?),
        (other, _) => return Err(format!("no value {other}")),
    })
}

fn quality(json: &Json) -> Read<Quality> {
    let known = |name: &Json| {
        let wanted = text(name)?.to_uppercase().replace('-', "_");
        Quality::from_name(&wanted).ok_or_else(|| format!("{name} is no quality"))
    };
    Ok(list(json, known)?.into_iter().fold(Quality::empty(), |all, one| all | one))
}

fn observation(json: &Json) -> Read<Observation> {
    let reading = |r: &Json| {
        Ok(Reading { channel: number(get(r, "channel")?)?, value: value(get(r, "value")?)?, quality: quality(get(r, "quality")?)? })
    };
    Ok(Observation { at: time(get(json, "at")?)?, readings: list(get(json, "readings")?, reading)? })
}

fn waveform(json: &Json) -> Read<Waveform> {
    Ok(Waveform {
        channel: number(get(json, "channel")?)?,
        first: number(get(json, "first")?)?,
        at: time(get(json, "at")?)?,
        counts: list(get(json, "counts")?, number)?,
        quality: quality(get(json, "quality")?)?,
    })
}

fn description(json: &Json) -> Read<Description> {
    let kinds = [Kind::Numeric, Kind::Enumeration, Kind::Bits, Kind::Text, Kind::Octets, Kind::Waveform];
    let coding = |c: &Json| Ok(Coding { scheme: text(get(c, "scheme")?)?, value: text(get(c, "value")?)? });
    let shape = |s: &Json| {
        Ok(WaveformShape {
            scale: decimal(get(s, "scale")?)?,
            offset: decimal(get(s, "offset")?)?,
            period_numerator: number(get(s, "period-numerator")?)?,
            period_denominator: number(get(s, "period-denominator")?)?,
            bits: number(get(s, "bits")?)?,
        })
    };
    Ok(Description {
        name: text(get(json, "name")?)?,
        kind: by_name(get(json, "kind")?, &kinds)?,
        code: optional(get(json, "code")?, coding)?,
        unit: text(get(json, "unit")?)?,
        shape: optional(get(json, "shape")?, shape)?,
        personal: get(json, "personal")?.as_bool().ok_or("personal is true or false")?,
        facts: list(get(json, "facts")?, |f| Ok(Fact { name: text(get(f, "name")?)?, value: text(get(f, "value")?)? }))?,
    })
}
