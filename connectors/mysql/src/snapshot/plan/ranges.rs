//! What is left of one table with a key: pieces side by side in key order, each free, leased, or read and on its way.
//!
//! Keys are opaque: the server alone knows their order, so a piece is only ever cut where a worker says. Invariants:
//! pieces do not overlap and stand in key order; what is in none of them was handed on.

use crate::snapshot::state::append;
use crate::snapshot::{Key, Range};

/// The pieces of a table.
#[derive(Debug)]
pub(super) struct Ranges {
    pieces: Vec<Piece>,
}

#[derive(Debug)]
struct Piece {
    range: Range,
    holder: Holder,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holder {
    Free,
    /// The number of the lease.
    Lease(u64),
    /// The number of the chunk.
    Chunk(u64),
}

impl Ranges {
    /// All free.
    pub(super) fn new(ranges: Vec<Range>) -> Self {
        let free = |range: Range| Piece { range, holder: Holder::Free };
        Self { pieces: ranges.into_iter().filter(|range| !range.is_empty()).map(free).collect() }
    }

    /// Gives the first free piece away.
    pub(super) fn lease(&mut self, lease: u64) -> Option<Range> {
        let piece = self.pieces.iter_mut().find(|piece| piece.holder == Holder::Free)?;
        piece.holder = Holder::Lease(lease);
        Some(piece.range.clone())
    }

    /// What a lease has still to read.
    pub(super) fn rest(&self, lease: u64) -> Option<&Range> {
        self.find(Holder::Lease(lease)).map(|index| &self.pieces[index].range)
    }

    /// Takes what is behind `at` from a lease; false where it has no such lease, or one of the parts would be empty.
    pub(super) fn divide(&mut self, lease: u64, at: Key) -> bool {
        let Some(index) = self.find(Holder::Lease(lease)) else { return false };
        let range = &mut self.pieces[index].range;
        if range.after.as_ref() == Some(&at) || range.upto.as_ref() == Some(&at) {
            return false;
        }
        let upto = range.upto.replace(at.clone());
        let behind = Piece { range: Range { after: Some(at), upto }, holder: Holder::Free };
        self.pieces.insert(index + 1, behind);
        true
    }

    /// Makes a chunk of what a lease has read: up to `last`, or all that it had, which ends it.
    pub(super) fn chunk(&mut self, lease: u64, last: Option<Key>, chunk: u64) -> bool {
        let Some(index) = self.find(Holder::Lease(lease)) else { return false };
        let Some(last) = last else {
            self.pieces[index].holder = Holder::Chunk(chunk);
            return true;
        };
        let after = self.pieces[index].range.after.replace(last.clone());
        let read = Piece { range: Range { after, upto: Some(last) }, holder: Holder::Chunk(chunk) };
        self.pieces.insert(index, read);
        true
    }

    /// Ends a lease: what it has not read is free.
    pub(super) fn release(&mut self, lease: u64) {
        if let Some(index) = self.find(Holder::Lease(lease)) {
            self.pieces[index].holder = Holder::Free;
            self.join_free();
        }
    }

    /// A chunk was handed on; false where there is none such.
    pub(super) fn emitted(&mut self, chunk: u64) -> bool {
        let found = self.find(Holder::Chunk(chunk));
        found.map(|index| self.pieces.remove(index)).is_some()
    }

    pub(super) fn has_chunk(&self, chunk: u64) -> bool {
        self.find(Holder::Chunk(chunk)).is_some()
    }

    /// How many chunks are on their way.
    pub(super) fn chunks(&self) -> u64 {
        self.pieces.iter().map(|piece| u64::from(matches!(piece.holder, Holder::Chunk(_)))).sum()
    }

    pub(super) fn is_leased(&self) -> bool {
        self.pieces.iter().any(|piece| matches!(piece.holder, Holder::Lease(_)))
    }

    pub(super) fn has_free(&self) -> bool {
        self.pieces.iter().any(|piece| piece.holder == Holder::Free)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Everything that was not handed on, joined where it touches.
    pub(super) fn remaining(&self) -> Vec<Range> {
        let mut ranges = Vec::new();
        for piece in &self.pieces {
            append(&mut ranges, &piece.range);
        }
        ranges
    }

    fn find(&self, holder: Holder) -> Option<usize> {
        self.pieces.iter().position(|piece| piece.holder == holder)
    }

    fn join_free(&mut self) {
        let is_free = |piece: &Piece| piece.holder == Holder::Free;
        self.pieces.retain(|piece| !(is_free(piece) && piece.range.is_empty()));
        self.pieces.dedup_by(|next, piece| {
            let touch = piece.range.upto.is_some() && piece.range.upto == next.range.after;
            let joined = touch && is_free(piece) && is_free(next);
            if joined {
                piece.range.upto = next.range.upto.take();
            }
            joined
        });
    }
}
