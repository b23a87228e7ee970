//! A measurement, printed and not judged: what the flash takes for what the store was given.

use super::*;

/// What this thread made the kernel write to a disk, in whole pages; 0 where /proc does not say.
fn pages_bytes() -> u64 {
    let io = fs::read_to_string("/proc/thread-self/io").unwrap_or_default();
    io.lines().find_map(|l| l.strip_prefix("write_bytes: ")).and_then(|n| n.parse().ok()).unwrap_or(0)
}

#[test]
fn flash_bytes_per_payload_byte() {
    for (bytes, batches) in [(1024, 10), (1024, 1), (4096, 10), (16384, 10)] {
        let t = Temp::new();
        let (mut store, shelf, _) = t.open_with(Limits { segment_bytes: 4 << 20, bytes_max: 64 << 20 });
        let (commits, mut n, before) = (500_u32.min(20_000_000 / (bytes * batches)), 0, pages_bytes());
        for _ in 0..commits {
            let full = store.wants_full_heads();
            let records = (0..batches).map(|i| batch(key(1, 0, Class::Waveform, n + i), &payload(n + i, bytes as usize)));
            store.commit(&group(records.chain([heads(full, &[7; 60])]))).expect("committed");
            n += batches;
            if n > 100 {
                let at = n - 100;
                shelf.acknowledge(&up_to(key(1, 0, Class::Waveform, at), digest_of(&payload(at, bytes as usize))));
            }
        }
        let payload = f64::from(commits * batches * bytes);
        println!(
            "{bytes} B x {batches} a commit: {:.3} file bytes and {:.3} bytes of pages a payload byte (the file system's journal comes on top)",
            store.figures().bytes_written as f64 / payload,
            (pages_bytes() - before) as f64 / payload,
        );
    }
}
