//! A lane's work at a sink: each body that was pushed is read into the parcel.

use std::marker::PhantomData;

use flowd_engine::failure::Failure;
use flowd_engine::parcel::Parcel;
use flowd_engine::record::{Batch, Body};
use flowd_engine::worker::{Encode, Encoded};

/// Reads for one lane.
#[derive(Debug)]
pub struct BodyEncoder<R, E> {
    /// Appends what a body holds.
    read: fn(&[u8], &mut Parcel<E>),
    /// The batch's record at hand.
    record: usize,
    bodies: PhantomData<fn(R)>,
}

impl<R, E> BodyEncoder<R, E> {
    /// A reader with nothing at hand.
    pub(crate) fn new(read: fn(&[u8], &mut Parcel<E>)) -> Self {
        Self { read, record: 0, bodies: PhantomData }
    }
}

impl<R: Body + 'static, E: 'static> Encode<R, E> for BodyEncoder<R, E> {
    fn encode(&mut self, batch: &Batch<R>, parcel: &mut Parcel<E>) -> Result<Encoded, Failure> {
        while let Some(record) = batch.records.get(self.record) {
            (self.read)(record.body().of(&batch.bytes), parcel);
            self.record += 1;
            if parcel.is_full() && self.record < batch.records.len() {
                return Ok(Encoded::More);
            }
        }
        self.record = 0;
        Ok(Encoded::All)
    }
}
