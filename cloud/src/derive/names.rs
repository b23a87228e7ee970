//! What the numbers of the wire are called in lines: the words of the contract.

use wardgate_wire::{Absence, AlertState, ClockQuality, Concern, GapReason, Kind, Priority};

/// The flags of `quality` in `wit/types.wit`, first flag = bit 0.
const QUALITY: [&str; 11] = [
    "invalid",
    "questionable",
    "unavailable",
    "calibrating",
    "test",
    "demo",
    "validated",
    "early",
    "ongoing",
    "in-alarm",
    "alarm-inhibited",
];

pub fn quality(bits: u16) -> Vec<&'static str> {
    let name = |bit: usize| QUALITY.get(bit).copied().unwrap_or("unknown");
    (0..16).filter(|bit| bits >> bit & 1 == 1).map(name).collect()
}

pub fn absence(why: Absence) -> &'static str {
    match why {
        Absence::NotMeasured => "not-measured",
        Absence::NotAtThisResolution => "not-at-this-resolution",
        Absence::OverRange => "over-range",
        Absence::UnderRange => "under-range",
        Absence::SensorOff => "sensor-off",
        Absence::SensorFault => "sensor-fault",
        Absence::DeviceError => "device-error",
        Absence::Stale => "stale",
        Absence::ClockFault => "clock-fault",
        Absence::NotConfigured => "not-configured",
        Absence::Unknown => "unknown",
    }
}

pub fn alert_state(state: AlertState) -> &'static str {
    match state {
        AlertState::Active => "active",
        AlertState::Latched => "latched",
        AlertState::Acknowledged => "acknowledged",
        AlertState::AudioPaused => "audio-paused",
        AlertState::Inactive => "inactive",
    }
}

pub fn priority(priority: Priority) -> &'static str {
    match priority {
        Priority::High => "high",
        Priority::Medium => "medium",
        Priority::Low => "low",
        Priority::Information => "information",
    }
}

pub fn concern(concern: Concern) -> &'static str {
    match concern {
        Concern::Physiological => "physiological",
        Concern::Technical => "technical",
    }
}

pub fn reason(reason: GapReason) -> &'static str {
    match reason {
        GapReason::DeviceOff => "device-off",
        GapReason::DeviceSkipped => "device-skipped",
        GapReason::LineFault => "line-fault",
        GapReason::GatewayOverrun => "gateway-overrun",
        GapReason::PluginFault => "plugin-fault",
        GapReason::PluginSwap => "plugin-swap",
        GapReason::GatewayRestart => "gateway-restart",
        GapReason::PowerCut => "power-cut",
        GapReason::StoreLost => "store-lost",
        GapReason::ShedByPolicy => "shed-by-policy",
        GapReason::DiskFull => "disk-full",
        GapReason::NotGranted => "not-granted",
        GapReason::UnboundExpired => "unbound-expired",
        GapReason::Unknown => "unknown",
    }
}

pub fn clock_quality(quality: ClockQuality) -> &'static str {
    match quality {
        ClockQuality::Synchronised => "synchronised",
        ClockQuality::FreeRunning => "free-running",
        ClockQuality::Unset => "unset",
    }
}

pub fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Numeric => "numeric",
        Kind::Enumeration => "enumeration",
        Kind::Bits => "bits",
        Kind::Text => "text",
        Kind::Octets => "octets",
        Kind::Waveform => "waveform",
    }
}
