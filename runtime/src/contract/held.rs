//! How many bytes the host holds for what a plugin said: quotas and bounds count these, not the bytes of the guest.

use std::mem::size_of;

use super::modbus;
use super::types::{Alert, Coding, Description, Fact, Observation, Reading, Value, Waveform};

/// What the host holds for a value beyond its own size.
pub trait Held {
    fn held_bytes(&self) -> usize;
}

impl Held for Value {
    fn held_bytes(&self) -> usize {
        match self {
            Value::Text(t) => t.len(),
            Value::Octets(o) => o.len(),
            Value::Number(_) | Value::Absent(_) | Value::Code(_) | Value::Bits(_) => 0,
        }
    }
}

impl Held for Observation {
    fn held_bytes(&self) -> usize {
        self.readings.iter().map(|r| size_of::<Reading>() + r.value.held_bytes()).sum()
    }
}

impl Held for Fact {
    fn held_bytes(&self) -> usize {
        self.name.len() + self.value.len()
    }
}

impl Held for Coding {
    fn held_bytes(&self) -> usize {
        self.scheme.len() + self.value.len()
    }
}

impl<T: Held> Held for Vec<T> {
    fn held_bytes(&self) -> usize {
        self.iter().map(|x| size_of::<T>() + x.held_bytes()).sum()
    }
}

impl Held for Waveform {
    fn held_bytes(&self) -> usize {
        self.counts.len() * size_of::<i32>()
    }
}

impl Held for Description {
    fn held_bytes(&self) -> usize {
        self.name.len() + self.unit.len() + self.code.as_ref().map_or(0, Held::held_bytes) + self.facts.held_bytes()
    }
}

impl Held for Alert {
    fn held_bytes(&self) -> usize {
        self.text.len() + self.code.as_ref().map_or(0, Held::held_bytes)
    }
}

impl Held for modbus::Request {
    fn held_bytes(&self) -> usize {
        match self {
            modbus::Request::WriteMultipleCoils(c) => c.on.len(),
            modbus::Request::WriteMultipleRegisters(r) => r.values.len() * size_of::<u16>(),
            modbus::Request::Other(raw) => raw.data.len(),
            _ => 0,
        }
    }
}
