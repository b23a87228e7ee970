//! The `ledger` class: what makes the rest checkable.

use crate::{Class, Description, DeviceTime, Digest, Epoch, Fact, Life, Moment, Run, Sequence, Stream};

/// Why a stretch of a stream will not come: one list for plugins, gateway and cloud. The number is the code on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum GapReason {
    DeviceOff = 0,
    DeviceSkipped = 1,
    LineFault = 2,
    GatewayOverrun = 3,
    PluginFault = 4,
    PluginSwap = 5,
    GatewayRestart = 6,
    PowerCut = 7,
    StoreLost = 8,
    ShedByPolicy = 9,
    DiskFull = 10,
    NotGranted = 11,
    UnboundExpired = 12,
    /// What "unexplained" counts; the promise is zero.
    Unknown = 13,
}

/// Where a stream stood when it stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastKnown {
    pub life: Life,
    pub run: Run,
    /// One more than the last index.
    pub next: u64,
    /// Of the last value.
    pub moment: Moment,
}

/// How one class of an epoch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClassEnd {
    pub class: Class,
    /// How many batches there are; the last sequence is one less.
    pub count: Sequence,
    pub last: Digest,
}

/// What one stream run holds in one epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunRange {
    pub stream: Stream,
    pub run: Run,
    pub first: u64,
    /// One more than the last index.
    pub next: u64,
    /// Values in batches; what is missing of `next - first` lies in gaps.
    pub count: u64,
    pub first_moment: Moment,
    pub last_moment: Moment,
}

/// How an epoch ended. Only classes with batches and runs with positions in it are named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closing {
    pub epoch: Epoch,
    /// Nothing older than this epoch is held any more, of any life.
    pub clean: bool,
    pub classes: Vec<ClassEnd>,
    pub runs: Vec<RunRange>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Predecessor {
    pub life: Life,
    /// Its last epoch, with how it ended as far as this card knows (`closing.epoch`).
    pub closing: Closing,
}

/// How the gateway's wall clock stood when the record was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ClockQuality {
    /// Disciplined by a time source; the uncertainty is the kernel's estimate.
    Synchronised = 0,
    /// Set once, by hand or from a battery, and running free.
    FreeRunning = 1,
    /// Never set since the boot.
    Unset = 2,
}

/// Why a device's clock is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ClockChange {
    /// The first stamp since the plugin was opened or the link came up.
    First = 0,
    /// Better known, or drifted.
    Refined = 1,
    /// It was set.
    Step = 2,
    /// A counter began anew at 0, having counted as far as it can.
    Wrap = 3,
}

/// One record of the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// First record of a life.
    Opening {
        predecessor: Option<Predecessor>,
        reason: GapReason,
        software: String,
    },
    /// First record of each later epoch: how the one before ended.
    Closing(Closing),
    /// The first value of a new run, in the group of that value. With `before` it is the gap between two runs.
    Run {
        stream: Stream,
        run: Run,
        /// Digest of the channel's description; none for alerts.
        description: Option<Digest>,
        /// Of the first value.
        moment: Moment,
        before: Option<LastKnown>,
        /// None: a new description, and nothing was lost.
        reason: Option<GapReason>,
    },
    /// Positions that will not come. `indices` 0: a stretch of time after the last value, without positions.
    Gap {
        life: Life,
        stream: Stream,
        run: Run,
        first: u64,
        indices: u64,
        /// How many values were lost, where that is known.
        values: Option<u64>,
        from: Moment,
        to: Moment,
        reason: GapReason,
    },
    /// A claim, not a fact about positions: of this class of a closed epoch, nothing below `below` is sent any more.
    Shed {
        life: Life,
        epoch: Epoch,
        class: Class,
        below: Sequence,
    },
    Clock {
        at: Moment,
        wall_ns: i64,
        uncertainty_ns: u64,
        quality: ClockQuality,
    },
    Binding {
        instance: String,
        serial: Option<String>,
        bed: Option<String>,
        from: Moment,
    },
    Identity {
        instance: String,
        at: Moment,
        facts: Vec<Fact>,
    },
    /// At this moment the device's own clock stood so, within the uncertainty.
    DeviceClock {
        instance: String,
        at: Moment,
        device: DeviceTime,
        uncertainty_ns: u64,
        change: ClockChange,
    },
    Description {
        digest: Digest,
        description: Description,
    },
    /// A record of a kind that this version does not know: kept as it stands.
    Other {
        kind: u64,
        bytes: Vec<u8>,
    },
}
