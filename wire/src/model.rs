//! The values themselves, in the shape of IEEE 11073-10206: what a plugin said, without loss.

/// When something happened at the gateway. Wall time comes from clock records, by reference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Moment {
    /// The first 8 bytes of the kernel's boot id.
    pub boot: u64,
    /// CLOCK_BOOTTIME, nanoseconds.
    pub monotonic_ns: u64,
}

/// What the device's own clock said, unchanged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum DeviceTime {
    #[default]
    NotTold,
    /// Nanoseconds since the Unix epoch.
    Utc(i64),
    /// Civil time without a zone, coded as if it were UTC, nanoseconds.
    Local(i64),
    /// The device's own counter, nanoseconds.
    Counter(u64),
}

/// mantissa * 10^exponent; the exponent is the precision the device claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Decimal {
    pub mantissa: i64,
    pub exponent: i8,
}

/// Why there is no value. The number is the code on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Absence {
    NotMeasured = 0,
    NotAtThisResolution = 1,
    OverRange = 2,
    UnderRange = 3,
    SensorOff = 4,
    SensorFault = 5,
    DeviceError = 6,
    Stale = 7,
    ClockFault = 8,
    NotConfigured = 9,
    Unknown = 10,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Value {
    Number(Decimal),
    Absent(Absence),
    Code(u32),
    Bits(u64),
    Text(String),
    Octets(Vec<u8>),
}

/// scheme: `mdc`, `loinc`, or the vendor's own name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Coding {
    pub scheme: String,
    pub value: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Priority {
    High = 0,
    Medium = 1,
    Low = 2,
    Information = 3,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Concern {
    Physiological = 0,
    Technical = 1,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum AlertState {
    Active = 0,
    Latched = 1,
    Acknowledged = 2,
    AudioPaused = 3,
    Inactive = 4,
}

/// An alarm the device raised, forwarded as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Alert {
    pub id: u32,
    pub at: DeviceTime,
    pub channel: Option<u16>,
    pub priority: Priority,
    pub concern: Concern,
    pub state: AlertState,
    pub code: Option<Coding>,
    pub low: Option<Decimal>,
    pub high: Option<Decimal>,
    pub text: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Fact {
    pub name: String,
    pub value: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    Numeric = 0,
    Enumeration = 1,
    Bits = 2,
    Text = 3,
    Octets = 4,
    Waveform = 5,
}

/// scale and offset turn a count into the unit; period is numerator / denominator seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WaveformShape {
    pub scale: Decimal,
    pub offset: Decimal,
    pub period_numerator: u32,
    pub period_denominator: u32,
    pub bits: u8,
}

/// The fact that marks a channel as a preview, which travels in the class of that name: each so many-th sample of another.
pub const PREVIEW_FACT: &str = "preview-every";

/// What a channel means during one run.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Description {
    pub name: String,
    pub kind: Kind,
    pub code: Option<Coding>,
    /// UCUM.
    pub unit: String,
    pub shape: Option<WaveformShape>,
    pub personal: bool,
    /// Computed on the gateway (a filter's output, a window), not said by a device.
    pub derived: bool,
    pub facts: Vec<Fact>,
}
