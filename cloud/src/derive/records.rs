//! records.jsonl: what the ledger says beside gaps (who is at which bed, which device it is, how clocks stood, which life follows which). Pure.

use serde_json::{Value as Json, json};
use wardgate_wire::{Entry, Life, Moment};

use super::lines::{Maker, boot, coding, hex, life_name, told};
use super::paths;
use crate::time::rfc3339;

pub fn record(maker: &mut Maker<'_>, batch: &str, life: Life, entry: &Entry) {
    let time = |m: Moment| json!({"time": maker.meanings.wall_ns(m).map(rfc3339), "boot": boot(m), "monotonic_ns": m.monotonic_ns});
    let body = match entry {
        Entry::Opening { predecessor, reason: why, software } => json!({
            "record": "opening", "software": software, "reason": why.name(),
            "predecessor": predecessor.as_ref().map(|p| json!({"life": life_name(p.life), "epoch": p.closing.epoch})),
        }),
        Entry::Binding { instance, serial, bed, from } => {
            json!({"record": "binding", "instance": instance, "serial": serial, "bed": bed, "from": time(*from)})
        }
        Entry::Identity { instance, at, facts } => {
            let facts: serde_json::Map<String, Json> = facts.iter().map(|f| (f.name.clone(), f.value.as_str().into())).collect();
            json!({"record": "identity", "instance": instance, "at": time(*at), "facts": facts})
        }
        Entry::Clock { at, wall_ns, uncertainty_ns, quality } => json!({
            "record": "clock", "boot": boot(*at), "monotonic_ns": at.monotonic_ns, "wall": rfc3339(*wall_ns),
            "uncertainty_ns": uncertainty_ns, "quality": quality.name(),
        }),
        Entry::DeviceClock { instance, at, device, uncertainty_ns, change } => json!({
            "record": "device-clock", "instance": instance, "at": time(*at), "device_time": told(*device),
            "uncertainty_ns": uncertainty_ns, "change": change.name(),
        }),
        Entry::Description { digest, description: d } => {
            let facts: serde_json::Map<String, Json> = d.facts.iter().map(|f| (f.name.clone(), f.value.as_str().into())).collect();
            json!({
                "record": "description", "digest": digest.to_string(), "channel": d.name, "kind": d.kind.name(), "unit": d.unit,
                "code": d.code.as_ref().map(coding), "personal": d.personal, "derived": d.derived, "facts": facts,
            })
        }
        Entry::Other { kind, bytes } => json!({"record": "unknown-kind", "kind": kind, "octets": hex(bytes)}),
        // closings, runs and sheds are the receiver's own business; gaps have their own file
        Entry::Closing(_) | Entry::Run { .. } | Entry::Gap { .. } | Entry::Shed { .. } => return,
    };
    let mut line = serde_json::Map::new();
    line.insert("batch".into(), batch.into());
    line.insert("gateway".into(), maker.gateway.into());
    line.insert("life".into(), life_name(life).into());
    if let Json::Object(body) = body {
        line.extend(body);
    }
    maker.put(format!("{}/{}", maker.gateway, paths::RECORDS), &line);
}
