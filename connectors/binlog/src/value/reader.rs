//! A cursor over bytes from outside. Every read is checked; none panics. It knows no format beyond the integers that
//! the binlog uses; what a short read means is said by the caller.

/// Reads forward through a slice.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Starts at the first byte.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Starts at byte `at`; past the end every read fails.
    pub(crate) fn starting_at(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at: at.min(bytes.len()) }
    }

    /// Bytes read so far.
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    /// Whether everything has been read.
    pub(crate) fn is_empty(&self) -> bool {
        self.at == self.bytes.len()
    }

    /// The next `count` bytes.
    #[inline]
    pub(crate) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(count)?;
        let taken = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    /// The next byte.
    #[inline]
    pub(crate) fn u8(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    /// The next `width` bytes (at most 8) as a little-endian number.
    #[inline]
    pub(crate) fn little(&mut self, width: usize) -> Option<u64> {
        Some(little(self.take(width)?))
    }

    /// A length-encoded integer: one byte, or 0xFC, 0xFD, 0xFE and 2, 3 or 8 bytes.
    #[inline]
    pub(crate) fn length_encoded(&mut self) -> Option<u64> {
        match self.u8()? {
            small @ 0..=0xFA => Some(u64::from(small)),
            0xFC => self.little(2),
            0xFD => self.little(3),
            0xFE => self.little(8),
            _ => None,
        }
    }

    /// A length-encoded integer that counts something in memory.
    #[inline]
    pub(crate) fn length(&mut self) -> Option<usize> {
        usize::try_from(self.length_encoded()?).ok()
    }

    /// Bytes behind a length-encoded length.
    #[inline]
    pub(crate) fn length_encoded_bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.length()?;
        self.take(length)
    }
}

/// At most 8 little-endian bytes as a number.
#[inline]
pub(crate) fn little(bytes: &[u8]) -> u64 {
    debug_assert!(bytes.len() <= 8);
    bytes.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte))
}

/// At most 8 big-endian bytes as a number.
#[inline]
pub(crate) fn big(bytes: &[u8]) -> u64 {
    debug_assert!(bytes.len() <= 8);
    bytes.iter().fold(0, |number, &byte| number << 8 | u64::from(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_encoded_integers_have_four_widths_and_two_forbidden_heads() {
        let check = |bytes: &[u8], expected| assert_eq!(Reader::new(bytes).length_encoded(), expected);
        check(&[0xFA], Some(0xFA));
        check(&[0xFC, 1, 2], Some(0x0201));
        check(&[0xFD, 1, 2, 3], Some(0x0003_0201));
        check(&[0xFE, 1, 0, 0, 0, 0, 0, 0, 0x80], Some(0x8000_0000_0000_0001));
        check(&[0xFB], None);
        check(&[0xFF], None);
        check(&[0xFC, 1], None);
        check(&[], None);
    }

    #[test]
    fn a_read_past_the_end_fails_and_moves_nothing() {
        let mut reader = Reader::new(&[1, 2, 3]);
        assert_eq!(reader.take(usize::MAX), None);
        assert_eq!(reader.take(4), None);
        assert_eq!(reader.little(3), Some(0x0003_0201));
        assert!(reader.is_empty());
    }
}
