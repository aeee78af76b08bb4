//! A piece of the journal in memory, so that events which lie behind each other are read at once.
//!
//! What is durable never changes at its place, so a piece is true for ever. Memory: [`PIECE_BYTES`] or the largest event.

use std::io;

/// So much is read at once where reading goes on where it left off.
const PIECE_BYTES: usize = 64 << 10;

/// Bytes of the journal and where they begin.
#[derive(Debug, Default)]
pub(crate) struct Piece {
    lsn: u64,
    bytes: Vec<u8>,
}

impl Piece {
    /// The bytes at `lsn`, if all of them are here.
    pub(crate) fn get(&self, lsn: u64, length: usize) -> Option<&[u8]> {
        let at = usize::try_from(lsn.checked_sub(self.lsn)?).ok()?;
        self.bytes.get(at..)?.get(..length)
    }

    /// Takes the bytes at `lsn` by `read`, and those behind them up to `end` where that pays: a reader that jumps would leave
    /// them unread.
    ///
    /// # Errors
    /// Those of `read`; nothing is here then.
    pub(crate) fn fill(
        &mut self,
        lsn: u64,
        length: usize,
        end: u64,
        read: impl FnOnce(&mut [u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        // Part of the event may be here, or others of it are between.
        let is_next =
            lsn.checked_sub(self.lsn).is_some_and(|far| far < (self.bytes.len() + PIECE_BYTES) as u64);
        let there = usize::try_from(end.saturating_sub(lsn)).unwrap_or(usize::MAX);
        let size = if is_next { length.max(PIECE_BYTES.min(there)) } else { length };
        self.bytes.resize(size, 0);
        self.lsn = lsn;
        read(&mut self.bytes).inspect_err(|_| self.bytes.clear())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A journal of so many bytes, each of which says where it is.
    struct Bytes(Vec<u8>);

    impl Bytes {
        /// How many bytes it took to read some, which are the right ones.
        fn read(&self, piece: &mut Piece, lsn: usize, length: usize) -> usize {
            let mut taken = 0;
            if piece.get(lsn as u64, length).is_none() {
                let filled = piece.fill(lsn as u64, length, self.0.len() as u64, |bytes| {
                    taken = bytes.len();
                    bytes.copy_from_slice(&self.0[lsn..lsn + taken]);
                    Ok(())
                });
                filled.unwrap();
            }
            assert_eq!(piece.get(lsn as u64, length), Some(&self.0[lsn..lsn + length]));
            taken
        }
    }

    #[test]
    fn events_behind_each_other_are_read_at_once_and_no_more_than_there_is() {
        let journal = Bytes((0..3 * PIECE_BYTES).map(|at| (at % 251) as u8).collect());
        let mut piece = Piece::default();
        assert_eq!(journal.read(&mut piece, 100, 10), PIECE_BYTES);
        assert_eq!(journal.read(&mut piece, 100 + PIECE_BYTES - 10, 10), 0);
        assert_eq!(journal.read(&mut piece, 100 + PIECE_BYTES - 9, 10), PIECE_BYTES, "part of it is here");
        assert_eq!(journal.read(&mut piece, 3 * PIECE_BYTES - 30, 10), 30);
        assert_eq!(journal.read(&mut piece, 50, 10), 10, "before what is here");
        assert_eq!(journal.read(&mut piece, 60, 2 * PIECE_BYTES), 2 * PIECE_BYTES, "a large one");
        assert_eq!(journal.read(&mut piece, 61, 5), 0);
        let mut piece = Piece::default();
        assert_eq!(journal.read(&mut piece, PIECE_BYTES, 10), 10, "a jump");
    }

    #[test]
    fn what_could_not_be_read_is_not_there() {
        let mut piece = Piece::default();
        let whole = piece.fill(0, 10, 100, |bytes| {
            bytes.fill(1);
            Ok(())
        });
        whole.unwrap();
        let broken = piece.fill(20, 10, 100, |bytes| {
            bytes.fill(2);
            Err(io::Error::other("broken"))
        });
        assert!(broken.is_err());
        assert_eq!((piece.get(0, 10), piece.get(20, 10)), (None, None));
    }
}
