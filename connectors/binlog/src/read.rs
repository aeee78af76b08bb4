//! Checked little-endian reads from borrowed bytes: nothing that arrives from outside may panic.

/// The bytes ended before the value that was to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Truncated;

/// A cursor over borrowed bytes.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the first byte.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What has not been read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next `count` bytes.
    pub fn bytes(&mut self, count: usize) -> Result<&'a [u8], Truncated> {
        let (head, tail) = self.rest.split_at_checked(count).ok_or(Truncated)?;
        self.rest = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Truncated> {
        let (head, tail) = self.rest.split_first_chunk::<N>().ok_or(Truncated)?;
        self.rest = tail;
        Ok(*head)
    }

    /// One byte.
    pub fn u8(&mut self) -> Result<u8, Truncated> {
        Ok(self.array::<1>()?[0])
    }

    /// Two bytes.
    pub fn u16(&mut self) -> Result<u16, Truncated> {
        self.array().map(u16::from_le_bytes)
    }

    /// Four bytes.
    pub fn u32(&mut self) -> Result<u32, Truncated> {
        self.array().map(u32::from_le_bytes)
    }

    /// Six bytes (table ids).
    pub fn u48(&mut self) -> Result<u64, Truncated> {
        let [a, b, c, d, e, f] = self.array()?;
        Ok(u64::from_le_bytes([a, b, c, d, e, f, 0, 0]))
    }

    /// Seven bytes (commit timestamps).
    pub fn u56(&mut self) -> Result<u64, Truncated> {
        let [a, b, c, d, e, f, g] = self.array()?;
        Ok(u64::from_le_bytes([a, b, c, d, e, f, g, 0]))
    }

    /// Eight bytes.
    pub fn u64(&mut self) -> Result<u64, Truncated> {
        self.array().map(u64::from_le_bytes)
    }

    /// Sixteen bytes as they are (server UUIDs).
    pub fn uuid(&mut self) -> Result<[u8; 16], Truncated> {
        self.array()
    }

    /// A variable-length integer of MySQL's serialization library: the number of trailing ones of the first byte is
    /// the number of further bytes (libs/mysql/serialization, `write_varlen_bytes`).
    pub fn varint(&mut self) -> Result<u64, Truncated> {
        let first = *self.rest.first().ok_or(Truncated)?;
        let more = first.trailing_ones() as usize;
        if more == 8 {
            self.u8()?;
            return self.u64();
        }
        let taken = self.bytes(more + 1)?;
        let mut wide = [0; 8];
        wide[..=more].copy_from_slice(taken);
        Ok(u64::from_le_bytes(wide) >> (more + 1))
    }

    /// A signed integer of the same library: the sign is the lowest bit.
    pub fn varint_signed(&mut self) -> Result<i64, Truncated> {
        let raw = self.varint()?;
        let magnitude = (raw >> 1).cast_signed();
        Ok(if raw & 1 == 0 { magnitude } else { !magnitude })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_of_every_length_are_read() {
        let check = |bytes: &[u8], expected: u64| assert_eq!(Reader::new(bytes).varint(), Ok(expected));
        check(&[0b0000_0000], 0);
        check(&[0b1111_1110], 127);
        check(&[0b0000_0001, 0b0000_0010], 128);
        check(&[0xff, 1, 2, 3, 4, 5, 6, 7, 8], 0x0807_0605_0403_0201);
        assert_eq!(Reader::new(&[0b0000_0001]).varint(), Err(Truncated));
        assert_eq!(Reader::new(&[0b0000_0010]).varint_signed(), Ok(-1));
        assert_eq!(Reader::new(&[0b0000_0100]).varint_signed(), Ok(1));
    }
}
