//! The index grows with segments, not batches.

use super::*;

const BATCHES: u32 = 1_000_000;
const GROUP: u32 = 1000;

#[test]
fn a_million_batches_take_an_index_of_kilobytes() {
    let t = Temp::new();
    let limits = Limits { segment_bytes: 256 << 10, bytes_max: 1 << 30 };
    let (mut store, shelf, _) = t.open_with(limits);
    for first in (0..BATCHES).step_by(GROUP as usize) {
        let full = store.wants_full_heads();
        let batches = (first..first + GROUP).map(|n| Record::Batch {
            key: key(1, n / 50_000, Class::Numeric, n % 50_000),
            digest: Digest([7; 16]),
            bytes: n.to_le_bytes().to_vec(),
        });
        store.commit(&group(batches.chain([heads(full, b"")]))).expect("committed");
    }
    let segments = t.files().len();
    assert_eq!(shelf.waiting().0, u64::from(BATCHES));
    let bytes = shelf.0.index().memory_bytes();
    println!("{BATCHES} batches in {segments} segments: index {bytes} bytes, {} a segment", bytes / segments);
    assert!(bytes < segments * 1024);

    // the worst that acknowledgements can do: every second batch missing
    for epoch in 0..BATCHES / 50_000 {
        let missing = (0..25_000).map(|n| (2 * n, 2 * n)).collect();
        shelf.acknowledge(&AckEntry::UpTo { life: 1, epoch, class: Class::Numeric, high: 49_999, digest: Digest([7; 16]), missing });
    }
    let worst = shelf.0.index().memory_bytes();
    println!("every second one missing: index {worst} bytes; refused {}", shelf.refused());
    assert!(worst < segments * (1024 + 3 * 8 * crate::store::index::RANGES_MAX) && shelf.refused() > 0);

    drop((store, shelf));
    let (_, shelf, _) = t.open_with(limits);
    assert_eq!(shelf.waiting().0, u64::from(BATCHES));
    assert!(shelf.0.index().memory_bytes() < segments * 1024);
    assert_eq!(shelf.read(&key(1, 7, Class::Numeric, 33)).expect("readable"), Some((Digest([7; 16]), 350_033_u32.to_le_bytes().to_vec())));
}
