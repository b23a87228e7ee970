//! Enumerations as numbers on the wire and as words in output: one table each.

use crate::{Absence, AlertState, ClockChange, ClockQuality, Concern, GapReason, Kind, Priority};

macro_rules! codes {
    ($($type:ident { $($variant:ident = $name:literal),+ $(,)? })+) => { $(
        impl $type {
            /// In the order of their codes, which count from 0.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            pub fn code(self) -> u8 {
                self as u8
            }

            pub fn from_code(code: u8) -> Option<Self> {
                Self::ALL.get(usize::from(code)).copied()
            }

            /// As in `wit/` and in the receiver's output.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }
        }
    )+ };
}

codes! {
    Absence {
        NotMeasured = "not-measured", NotAtThisResolution = "not-at-this-resolution", OverRange = "over-range", UnderRange = "under-range",
        SensorOff = "sensor-off", SensorFault = "sensor-fault", DeviceError = "device-error", Stale = "stale", ClockFault = "clock-fault",
        NotConfigured = "not-configured", Unknown = "unknown",
    }
    Priority { High = "high", Medium = "medium", Low = "low", Information = "information" }
    Concern { Physiological = "physiological", Technical = "technical" }
    AlertState {
        Active = "active", Latched = "latched", Acknowledged = "acknowledged", AudioPaused = "audio-paused", Inactive = "inactive",
    }
    Kind { Numeric = "numeric", Enumeration = "enumeration", Bits = "bits", Text = "text", Octets = "octets", Waveform = "waveform" }
    GapReason {
        DeviceOff = "device-off", DeviceSkipped = "device-skipped", LineFault = "line-fault", GatewayOverrun = "gateway-overrun",
        PluginFault = "plugin-fault", PluginSwap = "plugin-swap", GatewayRestart = "gateway-restart", PowerCut = "power-cut",
        StoreLost = "store-lost", ShedByPolicy = "shed-by-policy", DiskFull = "disk-full", NotGranted = "not-granted",
        UnboundExpired = "unbound-expired", Unknown = "unknown",
    }
    ClockChange { First = "first", Refined = "refined", Step = "step", Wrap = "wrap" }
    ClockQuality { Synchronised = "synchronised", FreeRunning = "free-running", Unset = "unset" }
}
