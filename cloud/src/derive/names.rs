//! What the flags of the wire are called in lines: the words of the contract.

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
