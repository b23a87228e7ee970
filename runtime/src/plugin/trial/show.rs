//! What a plugin said, as JSON by the rules of `plugins/golden.md`.

use crate::contract::types::{
    Alert, Coding, Decimal, Description, DeviceTime, Fact, Observation, Problem, Quality, Reading, Value, Waveform, WaveformShape,
};
use crate::contract::{Log, Said, modbus};
use serde_json::{Value as Json, json};

pub(super) fn log(log: &Log) -> Json {
    json!({"gateway.log": {"level": name(&log.level), "message": log.text}})
}

pub(super) fn said(said: &Said) -> Json {
    match said {
        Said::Describe(channel, meaning) => json!({"gateway.describe": {"channel": channel, "meaning": description(meaning)}}),
        Said::Identify(facts) => json!({"gateway.identify": {"facts": list(facts, fact)}}),
        Said::Emit(observations) => json!({"gateway.emit": {"observations": list(observations, observation)}}),
        Said::EmitWaveform(blocks) => json!({"gateway.emit-waveform": {"blocks": list(blocks, block)}}),
        Said::Missed(channel, count, because) => {
            json!({"gateway.missed": {"channel": channel, "count": count, "because": name(because)}})
        }
        Said::Raise(raised) => json!({"gateway.raise": {"alert": alert(raised)}}),
        Said::Keep(state) => json!({"gateway.keep": {"state": hex(state)}}),
        Said::WhenDurable(tag) => json!({"gateway.when-durable": {"tag": tag}}),
        Said::SetTimer(tag, after_ms) => json!({"gateway.set-timer": {"tag": tag, "after-ms": after_ms}}),
        Said::CancelTimer(tag) => json!({"gateway.cancel-timer": {"tag": tag}}),
        Said::Report(health, detail) => json!({"gateway.report": {"health": name(health), "detail": detail}}),
        Said::Answer(tag, Ok(bytes)) => json!({"gateway.answer": {"tag": tag, "outcome": {"ok": hex(bytes)}}}),
        Said::Answer(tag, Err(why)) => json!({"gateway.answer": {"tag": tag, "outcome": {"err": problem(why)}}}),
        Said::ModbusSubmit(tag, server, asked) => json!({"modbus.submit": {"tag": tag, "server": server, "request": request(asked)}}),
        Said::ModbusCancel(tag) => json!({"modbus.cancel": {"tag": tag}}),
        Said::SerialWrite(tag, frame) => json!({"serial.write": {"tag": tag, "frame": hex(frame)}}),
        Said::BleRead(tag, handle) => json!({"ble.read": {"tag": tag, "handle": handle}}),
        Said::BleWrite(tag, handle, bytes, with) => {
            json!({"ble.write": {"tag": tag, "handle": handle, "bytes": hex(bytes), "with-response": with}})
        }
        Said::BleSubscribe(tag, handle) => json!({"ble.subscribe": {"tag": tag, "handle": handle}}),
        Said::BleUnsubscribe(tag, handle) => json!({"ble.unsubscribe": {"tag": tag, "handle": handle}}),
    }
}

pub(super) fn problem(problem: &Problem) -> Json {
    json!({"cause": name(&problem.cause), "detail": problem.detail, "fatal": problem.fatal})
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn list<T>(items: &[T], each: impl Fn(&T) -> Json) -> Json {
    items.iter().map(each).collect()
}

/// As in the WIT: `Enum::SensorOff` is `sensor-off`.
pub(super) fn name(case: &impl std::fmt::Debug) -> String {
    let text = format!("{case:?}");
    let mut out = String::new();
    for c in text.rsplit("::").next().unwrap_or_default().chars() {
        if c.is_ascii_uppercase() && !out.is_empty() {
            out.push('-');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

fn fact(fact: &Fact) -> Json {
    json!({"name": fact.name, "value": fact.value})
}

fn decimal(d: &Decimal) -> Json {
    json!({"mantissa": d.mantissa, "exponent": d.exponent})
}

fn coding(c: &Coding) -> Json {
    json!({"scheme": c.scheme, "value": c.value})
}

pub(super) fn time(at: &DeviceTime) -> Json {
    match at {
        DeviceTime::NotTold => json!("not-told"),
        DeviceTime::Utc(t) => json!({"utc": t}),
        DeviceTime::Local(t) => json!({"local": t}),
        DeviceTime::Counter(t) => json!({"counter": t}),
    }
}

pub(super) fn value(value: &Value) -> Json {
    match value {
        Value::Number(d) => json!({"number": decimal(d)}),
        Value::Absent(why) => json!({"absent": name(why)}),
        Value::Code(code) => json!({"code": code}),
        Value::Bits(bits) => json!({"bits": bits}),
        Value::Text(text) => json!({"text": text}),
        Value::Octets(bytes) => json!({"octets": hex(bytes)}),
    }
}

/// In the WIT's order.
pub(super) const QUALITIES: [(Quality, &str); 11] = [
    (Quality::INVALID, "invalid"),
    (Quality::QUESTIONABLE, "questionable"),
    (Quality::UNAVAILABLE, "unavailable"),
    (Quality::CALIBRATING, "calibrating"),
    (Quality::TEST, "test"),
    (Quality::DEMO, "demo"),
    (Quality::VALIDATED, "validated"),
    (Quality::EARLY, "early"),
    (Quality::ONGOING, "ongoing"),
    (Quality::IN_ALARM, "in-alarm"),
    (Quality::ALARM_INHIBITED, "alarm-inhibited"),
];

pub(super) fn quality(quality: Quality) -> Json {
    QUALITIES.into_iter().filter(|(flag, _)| quality & *flag == *flag).map(|(_, name)| json!(name)).collect()
}

fn observation(o: &Observation) -> Json {
    let reading = |r: &Reading| json!({"channel": r.channel, "value": value(&r.value), "quality": quality(r.quality)});
    json!({"at": time(&o.at), "readings": list(&o.readings, reading)})
}

fn block(w: &Waveform) -> Json {
    json!({"channel": w.channel, "first": w.first, "at": time(&w.at), "counts": w.counts, "quality": quality(w.quality)})
}

pub(super) fn alert(a: &Alert) -> Json {
    json!({
        "id": a.id, "at": time(&a.at), "channel": a.channel, "priority": name(&a.priority), "concern": name(&a.concern),
        "state": name(&a.state), "code": a.code.as_ref().map(coding), "low": a.low.as_ref().map(decimal),
        "high": a.high.as_ref().map(decimal), "text": a.text,
    })
}

fn shape(s: &WaveformShape) -> Json {
    json!({
        "scale": decimal(&s.scale), "offset": decimal(&s.offset), "period-numerator": s.period_numerator,
        "period-denominator": s.period_denominator, "bits": s.bits,
    })
}

fn description(d: &Description) -> Json {
    json!({
        "name": d.name, "kind": name(&d.kind), "code": d.code.as_ref().map(coding), "unit": d.unit,
        "shape": d.shape.as_ref().map(shape), "personal": d.personal, "facts": list(&d.facts, fact),
    })
}

fn request(request: &modbus::Request) -> Json {
    use modbus::Request as R;
    let span = |s: &modbus::Span| json!({"address": s.address, "count": s.count});
    match request {
        R::ReadCoils(s) => json!({"read-coils": span(s)}),
        R::ReadDiscreteInputs(s) => json!({"read-discrete-inputs": span(s)}),
        R::ReadHoldingRegisters(s) => json!({"read-holding-registers": span(s)}),
        R::ReadInputRegisters(s) => json!({"read-input-registers": span(s)}),
        R::ReadDeviceIdentification(q) => json!({"read-device-identification": {"depth": q.depth, "object": q.object}}),
        R::WriteSingleCoil(c) => json!({"write-single-coil": {"address": c.address, "on": c.on}}),
        R::WriteSingleRegister(r) => json!({"write-single-register": {"address": r.address, "value": r.value}}),
        R::WriteMultipleCoils(c) => json!({"write-multiple-coils": {"address": c.address, "on": c.on}}),
        R::WriteMultipleRegisters(r) => json!({"write-multiple-registers": {"address": r.address, "values": r.values}}),
        R::MaskWriteRegister(m) => json!({"mask-write-register": {"address": m.address, "and": m.and, "or": m.or}}),
        R::Other(raw) => json!({"other": {"function": raw.function, "data": hex(&raw.data)}}),
    }
}
