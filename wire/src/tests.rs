//! What the wire promises, on values that nobody chose.

mod batches;
mod example;
mod messages;
mod random;
mod sizes;

use crate::{Batch, Class, Content, Key};

fn key() -> Key {
    Key::new(b"sixteen bytes or more").expect("long enough")
}

/// A batch that has a bit of everything of its class: the longest of the first few.
fn sample(class: Class) -> Batch {
    let weight = |batch: &Batch| match &batch.content {
        Content::Archive(bytes) => bytes.len(),
        _ => crate::encode(batch, &key()).map_or(0, |e| e.bytes.len()),
    };
    let batches = (0..30).map(|seed| random::Random::new(seed).batch(class));
    batches.filter(|batch| weight(batch) < 1_000).max_by_key(weight).expect("thirty batches")
}
