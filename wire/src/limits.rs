//! How much one batch may hold. The encoder refuses what a decoder would refuse.

use crate::WireError;

/// What a body may unpack to: 256 times the widest batch, room for one oversize observation, and small beside a receiver's memory.
pub const UNPACKED_BYTES_MAX: usize = 4 << 20;

/// A whole batch, header and MAC included: an unpacked body that nothing makes smaller, and what stands around it.
pub const BATCH_BYTES_MAX: usize = UNPACKED_BYTES_MAX + 256;

/// Rows (readings, observations, pieces, records and the like) in one batch. A constant column makes rows out of no bytes, so bytes alone do
/// not bound them: 64 thousand rows are four for each byte of the widest batch, and a few megabytes of memory.
pub const ROWS_MAX: usize = 1 << 16;

/// An instance's name in a data batch: read by people, and repeated in memory for each of its tracks.
pub const INSTANCE_BYTES_MAX: usize = 128;

/// The rows that a batch has left.
pub(crate) struct Rows(usize);

impl Rows {
    pub(crate) fn new() -> Self {
        Self(ROWS_MAX)
    }

    pub(crate) fn take(&mut self, n: usize) -> Result<(), WireError> {
        let refused = WireError::TooLarge { what: "rows", found: (ROWS_MAX - self.0).saturating_add(n), limit: ROWS_MAX };
        self.0 = self.0.checked_sub(n).ok_or(refused)?;
        Ok(())
    }
}
