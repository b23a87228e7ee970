//! Contract 2, gateway to cloud: what a batch, a part and an acknowledgement are, and their bytes (drawn in FORMAT.md).
//!
//! No I/O, no clock, no randomness: bytes in, values out, and back. Everything here is format 0 and promises nothing until it is frozen as 1.

mod ack;
mod alerts;
mod batch;
mod body;
pub mod bytes;
mod code;
mod column;
mod entries;
mod error;
mod id;
mod join;
mod ledger;
mod limits;
mod model;
mod numerics;
mod pack;
mod parked;
mod part;
mod raw;
mod records;
mod seal;
#[cfg(test)]
mod tests;
pub mod topics;
mod values;
mod waveforms;

#[cfg(test)]
extern crate self as wardgate_wire; // the tests' generator is also read by the workspace's tests, under this name

pub use ack::{AckEntry, Acknowledgement, decode_ack, encode_ack};
pub use batch::{Batch, Content, Encoded, Header, decode, decode_unauthenticated, encode, peek, peek_unauthenticated};
pub use body::{InstanceAlerts, InstanceNumerics, NumberedAlert, NumberedObservation, NumberedReading, Piece, WaveformTrack};
pub use error::WireError;
pub use id::{BatchKey, Class, Digest, Epoch, GatewayId, Life, Run, Sequence, Source, Stream};
pub use ledger::{ClassEnd, ClockChange, ClockQuality, Closing, Entry, GapReason, LastKnown, Predecessor, RunRange};
pub use limits::{BATCH_BYTES_MAX, INSTANCE_BYTES_MAX, ROWS_MAX, UNPACKED_BYTES_MAX};
pub use model::{
    Absence, Alert, AlertState, Coding, Concern, Decimal, Description, DeviceTime, Fact, Kind, Moment, PREVIEW_FACT, Priority, Value,
    WaveformShape,
};
pub use parked::{Parked, read_parked};
pub use part::{JOIN_BATCHES_MAX, JOIN_BYTES_MAX, Joiner, Message, PARTS_MAX, Part, read_message, split};
pub use raw::{Raw, read_raw};
pub use seal::{KEY_BYTES_MIN, Key, description_digest};
