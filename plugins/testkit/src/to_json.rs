//! What a plugin said, as JSON. The rules stand in `plugins/golden.md`; there is one form for each value.

use serde_json::{Map, Value as Json, json};
use wardgate_sdk::*;

/// `{"interface.function": {"parameter": ...}}`
pub fn said(said: &Said) -> Json {
    let (name, arguments) = match said {
        Said::Describe(channel, meaning) => ("gateway.describe", json!({"channel": channel, "meaning": description(meaning)})),
        Said::Identify(facts) => ("gateway.identify", json!({"facts": list(facts, fact)})),
        Said::Emit(observations) => ("gateway.emit", json!({"observations": list(observations, observation)})),
        Said::EmitWaveform(blocks) => ("gateway.emit-waveform", json!({"blocks": list(blocks, waveform)})),
        Said::Missed(channel, count, because) => ("gateway.missed", json!({"channel": channel, "count": count, "because": name(because)})),
        Said::Raise(alert) => ("gateway.raise", json!({"alert": self::alert(alert)})),
        Said::Keep(state) => ("gateway.keep", json!({"state": hex(state)})),
        Said::WhenDurable(tag) => ("gateway.when-durable", json!({"tag": tag})),
        Said::SetTimer(tag, after_ms) => ("gateway.set-timer", json!({"tag": tag, "after-ms": after_ms})),
        Said::CancelTimer(tag) => ("gateway.cancel-timer", json!({"tag": tag})),
        Said::Report(health, detail) => ("gateway.report", json!({"health": name(health), "detail": detail})),
        Said::Answer(tag, outcome) => {
            let outcome = match outcome {
                Ok(bytes) => json!({"ok": hex(bytes)}),
                Err(why) => json!({"err": problem(why)}),
            };
            ("gateway.answer", json!({"tag": tag, "outcome": outcome}))
        }
        Said::Log(level, message) => ("gateway.log", json!({"level": name(level), "message": message})),
        Said::ModbusSubmit(tag, server, asked) => ("modbus.submit", json!({"tag": tag, "server": server, "request": request(asked)})),
        Said::ModbusCancel(tag) => ("modbus.cancel", json!({"tag": tag})),
        Said::SerialWrite(tag, frame) => ("serial.write", json!({"tag": tag, "frame": hex(frame)})),
        Said::BleRead(tag, handle) => ("ble.read", json!({"tag": tag, "handle": handle})),
        Said::BleWrite(tag, handle, bytes, with_response) => {
            ("ble.write", json!({"tag": tag, "handle": handle, "bytes": hex(bytes), "with-response": with_response}))
        }
        Said::BleSubscribe(tag, handle) => ("ble.subscribe", json!({"tag": tag, "handle": handle})),
        Said::BleUnsubscribe(tag, handle) => ("ble.unsubscribe", json!({"tag": tag, "handle": handle})),
    };
    one(name, arguments)
}

pub fn problem(problem: &Problem) -> Json {
    json!({"cause": name(&problem.cause), "detail": problem.detail, "fatal": problem.fatal})
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// A case's name as in the WIT, from Rust's: `SensorOff` is `sensor-off`.
pub fn name(case: &impl std::fmt::Debug) -> String {
    let text = format!("{case:?}");
    // generated enums print as `Enum::Case`
    kebab(text.rsplit("::").next().unwrap_or(&text))
}

fn kebab(camel: &str) -> String {
    let mut out = String::new();
    for c in camel.chars() {
        if c.is_ascii_uppercase() && !out.is_empty() {
            out.push('-');
        }
        out.extend(c.to_lowercase());
    }
    out
}

fn one(case: &str, value: Json) -> Json {
    Json::Object(Map::from_iter([(case.to_owned(), value)]))
}

fn list<T>(items: &[T], each: impl Fn(&T) -> Json) -> Json {
    items.iter().map(each).collect()
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

fn time(at: &DeviceTime) -> Json {
    match at {
        DeviceTime::NotTold => json!("not-told"),
        DeviceTime::Utc(t) => json!({"utc": t}),
        DeviceTime::Local(t) => json!({"local": t}),
        DeviceTime::Counter(t) => json!({"counter": t}),
    }
}

fn value(value: &Value) -> Json {
    match value {
        Value::Number(d) => json!({"number": decimal(d)}),
        Value::Absent(why) => json!({"absent": name(why)}),
        Value::Code(code) => json!({"code": code}),
        Value::Bits(bits) => json!({"bits": bits}),
        Value::Text(text) => json!({"text": text}),
        Value::Octets(bytes) => json!({"octets": hex(bytes)}),
    }
}

fn quality(quality: &Quality) -> Json {
    quality.iter_names().map(|(name, _)| json!(name.to_ascii_lowercase().replace('_', "-"))).collect()
}

fn observation(o: &Observation) -> Json {
    let reading = |r: &Reading| json!({"channel": r.channel, "value": value(&r.value), "quality": quality(&r.quality)});
    json!({"at": time(&o.at), "readings": list(&o.readings, reading)})
}

fn waveform(w: &Waveform) -> Json {
    json!({"channel": w.channel, "first": w.first, "at": time(&w.at), "counts": w.counts, "quality": quality(&w.quality)})
}

fn alert(a: &Alert) -> Json {
    json!({
        "id": a.id, "at": time(&a.at), "channel": a.channel, "priority": name(&a.priority), "concern": name(&a.concern),
        "state": name(&a.state), "code": a.code.as_ref().map(coding), "low": a.low.as_ref().map(decimal),
        "high": a.high.as_ref().map(decimal), "text": a.text,
    })
}

fn description(d: &Description) -> Json {
    let shape = |s: &WaveformShape| {
        json!({
            "scale": decimal(&s.scale), "offset": decimal(&s.offset), "period-numerator": s.period_numerator,
            "period-denominator": s.period_denominator, "bits": s.bits,
        })
    };
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
