//! Asks a Polar strap to send its ECG: one write to its control point, and its answer.

use wardgate_sdk::gatt::{Peer, refusal};
use wardgate_sdk::*;

use crate::decode::POLAR_CONTROL;

const WRITE: Tag = 1;
/// Start (02) the ECG (00): sample rate (00), one value, 130 Hz; resolution (01), one value, 14 bits.
pub const START_ECG: [u8; 10] = [0x02, 0x00, 0x00, 0x01, 0x82, 0x00, 0x01, 0x01, 0x0e, 0x00];
const DONE: u8 = 0;
const ALREADY: u8 = 6; // it streams to us, or to another phone, already

pub fn ask(peer: &Peer, out: &mut Outbox) {
    if let Some(handle) = peer.handle(POLAR_CONTROL) {
        out.ble_write(WRITE, handle, &START_ECG, true);
    }
}

pub fn written(peer: &mut Peer, outcome: Result<Vec<u8>, ble::Failure>, out: &mut Outbox) {
    if let Err(why) = outcome {
        peer.report(Health::Degraded, &format!("the strap cannot be asked for its ECG: {}", refusal(&why)), out);
    }
}

pub fn answered((request, measurement, status): (u8, u8, u8), peer: &mut Peer, out: &mut Outbox) {
    if [request, measurement] == START_ECG[..2] && !matches!(status, DONE | ALREADY) {
        peer.report(Health::Degraded, &format!("the strap does not send its ECG (status {status})"), out);
    }
}
