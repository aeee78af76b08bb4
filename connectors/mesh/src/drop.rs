//! The target `drop`: counts, checksums and acknowledges. It measures everything before the target.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flowd_engine::failure::Failure;
use flowd_engine::worker::{Outlet, Target};
use tracing::info;
use twox_hash::XxHash3_64;

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

/// A 64-bit hash of an event's id that is the same on every machine and in every version: XXH3.
pub fn id_checksum(id: &[u8]) -> u64 {
    XxHash3_64::oneshot(id)
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
            let ids = parcel.events.iter().map(|event| event.event.id(&parcel.buffer));
            let checksum = ids.fold(0_u64, |sum, id| sum.wrapping_add(id_checksum(id)));
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
}
