//! What the next group lets go: which segments, and what of them is copied into it first.

use std::collections::{BTreeMap, BTreeSet};

use super::contents::Chain;
use super::folder::{self, segment_path};
use super::ranges::Ranges;
use super::shelf::Shared;
use super::{Group, Record, StoreError, format};

/// Most that one group copies forward, so that deleting never makes a commit slow; the rest follows in later ones.
const COPY_BYTES_MAX: u64 = 256 << 10;

#[derive(Default)]
pub(super) struct Plan {
    /// Segments to delete once the group is flushed.
    pub frees: Vec<u64>,
    pub frees_bytes: u64,
    /// Kind and payload of what is still wanted of them.
    pub copies: Vec<(u64, Vec<u8>)>,
    /// What they say is acknowledged of batches that lie elsewhere: those may be freed last, and a start would send all of them again.
    pub carried: BTreeMap<Chain, Ranges>,
}

/// Segments that nothing waits in and that do not hold the newest full heads or anything after them, oldest first.
/// `full_heads`: the segment of the newest full heads once the group is flushed.
fn candidates(shared: &Shared, full_heads: Option<u64>) -> Vec<(u64, u64)> {
    let index = shared.index();
    let below = full_heads.unwrap_or(if index.any_heads { 0 } else { u64::MAX });
    let in_use = index.current.as_ref().map(|c| c.number);
    let idle = index.segments.range(..below).filter(|(n, s)| s.waiting == 0 && Some(**n) != in_use);
    idle.map(|(n, s)| (*n, s.disk_bytes)).collect()
}

/// Whether a group with full heads in this segment would let any other go.
pub(super) fn frees_any(shared: &Shared, target: u64) -> bool {
    !candidates(shared, Some(target)).is_empty()
}

/// `target`: the segment that the group will be written to.
pub(super) fn plan(shared: &Shared, group: &Group, target: u64) -> Result<Plan, StoreError> {
    let full = group.records.iter().any(|r| matches!(r, Record::Heads { full: true, .. }));
    let anew: BTreeSet<&str> =
        group.records.iter().filter_map(|r| if let Record::State { instance, .. } = r { Some(instance.as_str()) } else { None }).collect();
    let full_heads = if full { Some(target) } else { shared.index().full_heads };
    let (mut plan, mut room) = (Plan::default(), COPY_BYTES_MAX);
    for (number, bytes) in candidates(shared, full_heads) {
        if copy_wanted(shared, number, &anew, &mut plan, &mut room)? {
            plan.frees.push(number);
            plan.frees_bytes += bytes;
        }
    }
    carry(shared, &mut plan)?;
    Ok(plan)
}

fn carry(shared: &Shared, plan: &mut Plan) -> Result<(), StoreError> {
    if plan.frees.is_empty() {
        return Ok(());
    }
    let stay: BTreeSet<Chain> = {
        let index = shared.index();
        index.segments.iter().filter(|(n, _)| !plan.frees.contains(n)).flat_map(|(_, s)| s.chains.iter().copied()).collect()
    };
    for &number in &plan.frees {
        let Some(opened) = shared.opened(number)? else { continue };
        for (chain, ranges) in opened.contents.acknowledged.iter().filter(|(chain, _)| stay.contains(chain)) {
            plan.carried.entry(*chain).or_default().insert_all(ranges);
        }
    }
    Ok(())
}

/// Segments that can go now, because what is already flushed holds all that is wanted.
pub(super) fn free_now(shared: &Shared) -> Vec<u64> {
    let full_heads = shared.index().full_heads;
    let all = candidates(shared, full_heads).into_iter().map(|(n, _)| n);
    let index = shared.index();
    all.filter(|n| index.segments.get(n).is_some_and(|s| s.others == 0) && index.states.values().all(|(at, _)| at != n)).collect()
}

/// Whether all that is wanted of this segment found room among the copies.
fn copy_wanted(shared: &Shared, number: u64, anew: &BTreeSet<&str>, plan: &mut Plan, room: &mut u64) -> Result<bool, StoreError> {
    let (states, others) = {
        let index = shared.index();
        (index.states_in(number, anew), index.segments.get(&number).map_or(0, |s| s.others))
    };
    if states.is_empty() && others == 0 {
        return Ok(true);
    }
    let Some(opened) = shared.opened(number)? else { return Ok(false) };
    let others_bytes: u64 = opened.contents.others.iter().map(|(_, p)| u64::from(p.length)).sum();
    if others_bytes > *room {
        return Ok(false); // all of a segment's or none: half of them would be copied again and again
    }
    let mut wanted = opened.contents.others.clone();
    wanted.extend(states.into_iter().map(|(_, piece)| (format::KIND_STATE, piece)));
    let mut all = true;
    for (kind, piece) in wanted {
        let bytes = u64::from(piece.length);
        if bytes > *room && *room < COPY_BYTES_MAX {
            all = false; // the next group's; a piece larger than the limit goes alone
            continue;
        }
        *room = room.saturating_sub(bytes);
        match folder::read_piece(&opened.file, &segment_path(&shared.folder, number), piece)? {
            Some(payload) => plan.copies.push((kind, payload)),
            None => {
                if let Some(segment) = shared.index().segments.get_mut(&number) {
                    segment.damaged = true; // nothing to copy: the file is set aside instead of deleted
                }
            }
        }
    }
    Ok(all)
}
