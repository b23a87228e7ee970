//! The uplink against real brokers: the embedded one, which can be told to misbehave, and mosquitto, which shares no code with us.
//!
//! What is proved everywhere: each batch of a store reaches the receiver and leaves the store only by the receiver's own acknowledgement,
//! whatever broker, network, certificates and other people's messages do in between. Waits end when something has happened; none is a measure.

mod arrival;
mod client_faults;
mod lies;
mod mosquitto;
mod order;
pub mod receiver;
mod rig;
mod tls;
