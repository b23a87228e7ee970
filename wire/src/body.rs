//! What data batches hold, and their columns.

use crate::{Alert, DeviceTime, Moment, Run, Value};

/// The readings of one instance, in the order in which they were said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceNumerics {
    pub instance: String,
    /// Was parked, and came through after a person confirmed the binding.
    pub late: bool,
    pub observations: Vec<NumberedObservation>,
}

/// Readings that belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NumberedObservation {
    pub moment: Moment,
    pub at: DeviceTime,
    pub readings: Vec<NumberedReading>,
}

/// A reading with its position in its stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NumberedReading {
    pub channel: u16,
    pub run: Run,
    pub index: u64,
    pub value: Value,
    /// The flags of `quality` in `wit/types.wit`, first flag = bit 0.
    pub quality: u16,
}

/// Samples of one stream run without a jump: counts[0] has index `first`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaveformTrack {
    pub instance: String,
    pub channel: u16,
    pub run: Run,
    pub first: u64,
    pub late: bool,
    /// The blocks as the plugin said them; their lengths sum up to `counts.len()`.
    pub pieces: Vec<Piece>,
    pub counts: Vec<i32>,
}

/// One block of a track: `count` samples that arrived at `moment`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    pub count: u32,
    pub moment: Moment,
    pub at: DeviceTime,
    pub quality: u16,
}

/// The alerts of one instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceAlerts {
    pub instance: String,
    pub late: bool,
    pub alerts: Vec<NumberedAlert>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NumberedAlert {
    pub run: Run,
    pub index: u64,
    pub moment: Moment,
    pub alert: Alert,
}
