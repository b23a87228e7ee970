//! The events of a golden case, from JSON by the rules of `plugins/golden.md`.

use serde_json::Value as Json;

use crate::contract::types::{
    Absence, Decimal, Description, DeviceTime, Fact, Kind, LinkState, Missing, Moment, Observation, Quality, Reading, Tag, Value, Waveform,
    WaveformShape,
};
use crate::contract::{Event, ble, modbus, serial};

pub(super) enum Step {
    Open { kept: bool },
    Event(Event),
}

pub(super) type Read<T> = Result<T, String>;

pub(super) fn moment(json: &Json) -> Read<Moment> {
    Ok(Moment { boot: number(&json["boot"])?, monotonic_ns: number(&json["monotonic-ns"])?, wall: json["wall"].as_i64() })
}

pub(super) fn step(json: &Json) -> Read<Step> {
    let (name, with) = case(json)?;
    let tag = || -> Read<Tag> { number(&with["tag"]) };
    let event = match name {
        "open" => return Ok(Step::Open { kept: one_of(with, &[("new", false), ("kept", true)])? }),
        "lifecycle.timer" => Event::Timer(tag()?),
        "lifecycle.durable" => Event::Durable(tag()?),
        "lifecycle.command" => {
            Event::Command { tag: tag()?, id: text(&with["id"])?, name: text(&with["name"])?, argument: bytes(&with["argument"])? }
        }
        "lifecycle.close" => Event::Close,
        "modbus-events.link-changed" => Event::ModbusLink(link(&with["state"])?),
        "modbus-events.reply" => Event::ModbusReply(tag()?, outcome(&with["outcome"], response, modbus_failure)?),
        "serial-events.link-changed" => Event::SerialLink(link(&with["state"])?),
        "serial-events.written" => Event::SerialWritten(tag()?, outcome(&with["outcome"], |_| Ok(()), serial_failure)?),
        "serial-events.received" => Event::SerialReceived(bytes(&with["bytes"])?),
        "serial-events.faulted" => {
            use serial::LineFault as F;
            let faults = [("parity", F::Parity), ("framing", F::Framing), ("overrun", F::Overrun), ("break-seen", F::BreakSeen)];
            Event::SerialFaulted(one_of(&with["fault"], &faults)?)
        }
        "ble-events.link-changed" => Event::BleLink(link(&with["state"])?),
        "ble-events.discovered" => {
            Event::BleDiscovered { mtu: number(&with["mtu"])?, found: list(&with["found"], characteristic)?, who: None }
        }
        "ble-events.reply" => Event::BleReply(tag()?, outcome(&with["outcome"], bytes, ble_failure)?),
        "ble-events.notified" => Event::BleNotified(number(&with["handle"])?, bytes(&with["bytes"])?),
        "ble-events.advertised" => Event::BleAdvertised {
            rssi: number(&with["rssi"])?,
            manufacturer: list(&with["manufacturer"], |one| {
                Ok(ble::ManufacturerData { company: number(&one["company"])?, bytes: bytes(&one["bytes"])? })
            })?,
            services: list(&with["services"], |one| {
                Ok(ble::ServiceData { service: uuid(&one["service"])?, bytes: bytes(&one["bytes"])? })
            })?,
            who: None,
        },
        "filter-events.bound" => Event::FilterBound(number(&with["input"])?, description(&with["meaning"])?),
        "filter-events.unbound" => Event::FilterUnbound(number(&with["input"])?),
        "filter-events.observed" => Event::FilterObserved(observation(&with["seen"])?),
        "filter-events.sampled" => Event::FilterSampled(waveform(&with["block"])?),
        "filter-events.missed" => {
            use Missing as M;
            let count = if with["count"].is_null() { None } else { Some(number(&with["count"])?) };
            let reasons = [
                ("device-off", M::DeviceOff),
                ("not-sent", M::NotSent),
                ("corrupted", M::Corrupted),
                ("overrun", M::Overrun),
                ("unknown", M::Unknown),
            ];
            Event::FilterMissed(number(&with["input"])?, count, one_of(&with["because"], &reasons)?)
        }
        other => return Err(format!("no event {other}")),
    };
    Ok(Step::Event(event))
}

/// Without payload a text, with payload an object of one name.
fn case(json: &Json) -> Read<(&str, &Json)> {
    match json {
        Json::String(name) => Ok((name, &Json::Null)),
        Json::Object(fields) if fields.len() == 1 => Ok(fields.iter().next().map(|(name, value)| (name.as_str(), value)).expect("one")),
        _ => Err(format!("{json} is no case")),
    }
}

fn one_of<T: Copy>(json: &Json, cases: &[(&str, T)]) -> Read<T> {
    let found = cases.iter().find(|(name, _)| json.as_str() == Some(name));
    found.map(|(_, value)| *value).ok_or_else(|| format!("{json} is none of {:?}", cases.iter().map(|(name, _)| name).collect::<Vec<_>>()))
}

fn number<T: TryFrom<i128>>(json: &Json) -> Read<T> {
    let wide = json.as_i64().map(i128::from).or(json.as_u64().map(i128::from));
    wide.and_then(|n| T::try_from(n).ok()).ok_or_else(|| format!("{json} is no number of its type"))
}

pub(super) fn text(json: &Json) -> Read<String> {
    json.as_str().map(str::to_owned).ok_or_else(|| format!("{json} is no text"))
}

fn bytes(json: &Json) -> Read<Vec<u8>> {
    from_hex(json.as_str().ok_or_else(|| format!("{json} is no hexadecimal text"))?)
}

/// Two digits a byte; spaces, commas and colons between them are for people.
pub(super) fn from_hex(text: &str) -> Read<Vec<u8>> {
    let digits: Vec<u8> = text.bytes().filter(|c| !c.is_ascii_whitespace() && !b",:".contains(c)).collect();
    let byte = |pair: &[u8]| {
        let pair = std::str::from_utf8(pair).ok().filter(|pair| pair.len() == 2 && pair.bytes().all(|c| c.is_ascii_hexdigit()));
        pair.and_then(|pair| u8::from_str_radix(pair, 16).ok())
    };
    let read = digits.chunks(2).map(byte).collect::<Option<_>>();
    read.ok_or_else(|| format!("\"{text}\" is not hexadecimal: two digits a byte, as in 33 36 2e 35"))
}

fn list<T>(json: &Json, each: impl Fn(&Json) -> Read<T>) -> Read<Vec<T>> {
    json.as_array().ok_or_else(|| format!("{json} is no list"))?.iter().map(each).collect()
}

fn link(json: &Json) -> Read<LinkState> {
    one_of(json, &[("up", LinkState::Up), ("down", LinkState::Down)])
}

fn outcome<T, E>(json: &Json, ok: impl Fn(&Json) -> Read<T>, err: impl Fn(&Json) -> Read<E>) -> Read<Result<T, E>> {
    match case(json)? {
        ("ok", value) => ok(value).map(Ok),
        ("err", value) => err(value).map(Err),
        _ => Err(format!("{json} is neither ok nor err")),
    }
}

fn response(json: &Json) -> Read<modbus::Response> {
    use modbus::Response as R;
    Ok(match case(json)? {
        ("bits", bits) => R::Bits(list(bits, |bit| bit.as_bool().ok_or_else(|| format!("{bit} is no bit")))?),
        ("registers", registers) => R::Registers(list(registers, number)?),
        ("identification", all) => {
            R::Identification(list(all, |o| Ok(modbus::Object { id: number(&o["id"])?, value: bytes(&o["value"])? }))?)
        }
        ("written", _) => R::Written,
        ("other", raw) => R::Other(modbus::Raw { function: number(&raw["function"])?, data: bytes(&raw["data"])? }),
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
    one_of(json, &[("link-down", F::LinkDown), ("not-granted", F::NotGranted), ("over-rate", F::OverRate), ("cancelled", F::Cancelled)])
}

fn ble_failure(json: &Json) -> Read<ble::Failure> {
    use ble::Failure as F;
    match case(json)? {
        ("att", code) => number(code).map(F::Att),
        _ => one_of(
            json,
            &[
                ("timeout", F::Timeout),
                ("link-down", F::LinkDown),
                ("not-granted", F::NotGranted),
                ("over-rate", F::OverRate),
                ("not-found", F::NotFound),
                ("not-permitted", F::NotPermitted),
                ("busy", F::Busy),
                ("cancelled", F::Cancelled),
            ],
        ),
    }
}

fn uuid(json: &Json) -> Read<ble::Uuid> {
    Ok(ble::Uuid { high: number(&json["high"])?, low: number(&json["low"])? })
}

fn characteristic(json: &Json) -> Read<ble::Characteristic> {
    use ble::Properties as P;
    let names = [
        ("read", P::READ),
        ("write", P::WRITE),
        ("write-without-response", P::WRITE_WITHOUT_RESPONSE),
        ("notify", P::NOTIFY),
        ("indicate", P::INDICATE),
    ];
    let properties = list(&json["properties"], |name| one_of(name, &names))?.into_iter().fold(P::empty(), |all, one| all | one);
    Ok(ble::Characteristic { handle: number(&json["handle"])?, service: uuid(&json["service"])?, uuid: uuid(&json["uuid"])?, properties })
}

fn decimal(json: &Json) -> Read<Decimal> {
    Ok(Decimal { mantissa: number(&json["mantissa"])?, exponent: number(&json["exponent"])? })
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

fn absence(json: &Json) -> Read<Absence> {
    use Absence as A;
    one_of(
        json,
        &[
            ("not-measured", A::NotMeasured),
            ("not-at-this-resolution", A::NotAtThisResolution),
            ("over-range", A::OverRange),
            ("under-range", A::UnderRange),
            ("sensor-off", A::SensorOff),
            ("sensor-fault", A::SensorFault),
            ("device-error", A::DeviceError),
            ("stale", A::Stale),
            ("clock-fault", A::ClockFault),
            ("not-configured", A::NotConfigured),
            ("unknown", A::Unknown),
        ],
    )
}

fn value(json: &Json) -> Read<Value> {
    Ok(match case(json)? {
        ("number", d) => Value::Number(decimal(d)?),
        ("absent", why) => Value::Absent(absence(why)?),
        ("code", code) => Value::Code(number(code)?),
        ("bits", bits) => Value::Bits(number(bits)?),
        ("text", t) => Value::Text(text(t)?),
        ("octets", o) => Value::Octets(bytes(o)?),
        (other, _) => return Err(format!("no value {other}")),
    })
}

fn quality(json: &Json) -> Read<Quality> {
    let one = |name: &Json| one_of(name, &super::show::QUALITIES.map(|(flag, name)| (name, flag)));
    Ok(list(json, one)?.into_iter().fold(Quality::empty(), |all, one| all | one))
}

fn observation(json: &Json) -> Read<Observation> {
    let reading = |r: &Json| Ok(Reading { channel: number(&r["channel"])?, value: value(&r["value"])?, quality: quality(&r["quality"])? });
    Ok(Observation { at: time(&json["at"])?, readings: list(&json["readings"], reading)? })
}

fn waveform(json: &Json) -> Read<Waveform> {
    Ok(Waveform {
        channel: number(&json["channel"])?,
        first: number(&json["first"])?,
        at: time(&json["at"])?,
        counts: list(&json["counts"], number)?,
        quality: quality(&json["quality"])?,
    })
}

fn shape(json: &Json) -> Read<Option<WaveformShape>> {
    if json.is_null() {
        return Ok(None);
    }
    Ok(Some(WaveformShape {
        scale: decimal(&json["scale"])?,
        offset: decimal(&json["offset"])?,
        period_numerator: number(&json["period-numerator"])?,
        period_denominator: number(&json["period-denominator"])?,
        bits: number(&json["bits"])?,
    }))
}

fn description(json: &Json) -> Read<Description> {
    use Kind as K;
    let kinds = [
        ("numeric", K::Numeric),
        ("enumeration", K::Enumeration),
        ("bits", K::Bits),
        ("text", K::Text),
        ("octets", K::Octets),
        ("waveform", K::Waveform),
    ];
    let coding = |c: &Json| Ok::<_, String>(crate::contract::types::Coding { scheme: text(&c["scheme"])?, value: text(&c["value"])? });
    Ok(Description {
        name: text(&json["name"])?,
        kind: one_of(&json["kind"], &kinds)?,
        code: if json["code"].is_null() { None } else { Some(coding(&json["code"])?) },
        unit: text(&json["unit"])?,
        shape: shape(&json["shape"])?,
        personal: json["personal"].as_bool().ok_or("personal is true or false")?,
        facts: list(&json["facts"], |f| Ok(Fact { name: text(&f["name"])?, value: text(&f["value"])? }))?,
    })
}
