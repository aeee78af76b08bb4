//! The target `drop`: counts, checksums and acknowledges. It measures everything before the target.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flowd_engine::failure::Failure;
use flowd_engine::worker::{Outlet, Target};
use tracing::info;

use crate::Outgoing;

/// What was dropped. Written by the target's thread once a parcel, read by anybody; the fields are statistics, nothing
/// is ordered by them, so `Relaxed` is enough.
#[derive(Debug, Default)]
pub struct Totals {
    events: AtomicU64,
    bytes: AtomicU64,
    checksum: AtomicU64,
}

impl Totals {
    /// Events dropped.
    pub fn events(&self) -> u64 {
        self.events.load(Ordering::Relaxed)
    }

    /// Bytes of their JSON.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Sum of [`id_checksum`] over the events, wrapping: the same for the same set of ids in any order.
    pub fn checksum(&self) -> u64 {
        self.checksum.load(Ordering::Relaxed)
    }
}

/// A 64-bit hash of an event's id that is the same on every machine and in every version (FNV-1a, folded at the end).
pub fn id_checksum(id: &[u8]) -> u64 {
    folded(hashed(BASIS, id))
}

/// FNV-1a begins with it.
const BASIS: u64 = 0xcbf2_9ce4_8422_2325;

#[inline]
fn hashed(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

#[inline]
fn folded(hash: u64) -> u64 {
    (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Ids that are hashed side by side.
const SIDE_BY_SIDE: usize = 4;

/// Sum of [`id_checksum`] over all ids. A byte's multiplication waits for the one before it, so that one id after the
/// other would mostly wait; side by side they do not.
fn ids_checksum<'a>(events: &[Outgoing], id: impl Fn(&Outgoing) -> &'a [u8]) -> u64 {
    let (groups, rest) = events.as_chunks::<SIDE_BY_SIDE>();
    let mut sum = rest.iter().fold(0_u64, |sum, event| sum.wrapping_add(id_checksum(id(event))));
    for group in groups {
        let ids = group.each_ref().map(&id);
        let common = ids.iter().map(|id| id.len()).min().unwrap_or_default();
        let (heads, tails) = (ids.map(|id| &id[..common]), ids.map(|id| &id[common..]));
        let mut hashes = [BASIS; SIDE_BY_SIDE];
        for at in 0..common {
            for (hash, head) in hashes.iter_mut().zip(&heads) {
                *hash = hashed(*hash, &head[at..=at]);
            }
        }
        for (hash, tail) in hashes.iter().zip(tails) {
            sum = sum.wrapping_add(folded(hashed(*hash, tail)));
        }
    }
    sum
}

/// Drops what it is given.
#[derive(Debug, Default)]
pub struct DropTarget {
    totals: Arc<Totals>,
}

impl DropTarget {
    /// Counts into `totals`, which the caller may keep a handle of.
    pub fn new(totals: Arc<Totals>) -> Self {
        Self { totals }
    }
}

impl Target<Outgoing> for DropTarget {
    fn start(&mut self) -> Result<(), Failure> {
        Ok(())
    }

    fn run(self: Box<Self>, parcels: &mut dyn Outlet<Outgoing>) -> Result<(), Failure> {
        let totals = &self.totals;
        while let Some(delivery) = parcels.next() {
            let parcel = delivery.parcel;
            let checksum = ids_checksum(&parcel.events, |event| event.event.id(&parcel.buffer));
            let bytes: u64 =
                parcel.events.iter().map(|event| event.event.json(&parcel.buffer).len() as u64).sum();
            totals.events.fetch_add(parcel.events.len() as u64, Ordering::Relaxed);
            totals.bytes.fetch_add(bytes, Ordering::Relaxed);
            totals.checksum.fetch_add(checksum, Ordering::Relaxed);
            parcels.emitted(delivery.ticket);
            parcels.acked(delivery.ticket);
            parcels.recycle(parcel);
        }
        let checksum = format!("{:016x}", totals.checksum());
        info!(events = totals.events(), bytes = totals.bytes(), checksum, "dropped");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{FakeParcels, line_parcel};

    fn dropped(parcels: Vec<flowd_engine::parcel::Parcel<Outgoing>>) -> Arc<Totals> {
        let totals = Arc::new(Totals::default());
        let mut parcels = FakeParcels::ending(parcels);
        let last = parcels.total() as u64 - 1;
        Box::new(DropTarget::new(Arc::clone(&totals))).run(&mut parcels).unwrap();
        assert_eq!(parcels.acked.last(), Some(&last));
        totals
    }

    #[test]
    fn the_checksum_is_of_the_set_of_ids_and_not_of_their_order() {
        let one = dropped(vec![line_parcel(&["a", "bb"]), line_parcel(&["ccc"])]);
        let other = dropped(vec![line_parcel(&["ccc", "a", "bb"])]);
        assert_eq!((one.events(), one.bytes(), one.checksum()), (3, 6, other.checksum()));
        let fewer = dropped(vec![line_parcel(&["a", "ccc"])]);
        assert_ne!(one.checksum(), fewer.checksum());
    }

    #[test]
    fn ids_hashed_side_by_side_give_the_sum_of_each_alone() {
        let ids = ["a", "bb", "ccc", "", "eeeee", "ffffff", "ggggggg", "e", "longer than all the others"];
        for count in 1..=ids.len() {
            let together = dropped(vec![line_parcel(&ids[..count])]).checksum();
            let alone = dropped(ids[..count].iter().map(|id| line_parcel(&[id])).collect()).checksum();
            assert_eq!(together, alone, "{count} ids");
        }
    }
}
