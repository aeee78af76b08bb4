//! The layout of a stored checkpoint.
//!
//! ```text
//! byte 0      format version
//! bytes 1..5  CRC-32 of the rest, little-endian
//! bytes 5..   rkyv, little-endian, unaligned
//! ```
//!
//! The version comes first, so that it can be read whatever follows. The checksum is there because rkyv's check only
//! sees that a record has the right shape, not that a position is the one that was written.

use bytes::Bytes;
use flowd_engine::checkpoint::Checkpoint;
use flowd_engine::record::Position;
use rkyv::rancor::Error;

/// The format that this flowd writes, and the only one that it reads.
pub(crate) const FORMAT: u8 = 1;

const HEAD: usize = 5;

/// A checkpoint as stored, with who stored it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The checkpoint.
    pub checkpoint: Checkpoint,
    /// The connector that it belongs to.
    pub connector_name: String,
    /// The version of the flowd that stored it.
    pub flowd_version: String,
}

#[derive(rkyv::Archive, rkyv::Serialize)]
struct Record<'a> {
    #[rkyv(with = rkyv::with::InlineAsBox)]
    connector_name: &'a str,
    #[rkyv(with = rkyv::with::InlineAsBox)]
    flowd_version: &'a str,
    time_us: i64,
    #[rkyv(with = rkyv::with::InlineAsBox)]
    read: &'a [u8],
    #[rkyv(with = rkyv::with::InlineAsBox)]
    emitted: &'a [u8],
    #[rkyv(with = rkyv::with::InlineAsBox)]
    acked: &'a [u8],
    #[rkyv(with = rkyv::with::InlineAsBox)]
    extra: &'a [u8],
}

/// Writes a checkpoint down.
pub(crate) fn encode(connector_name: &str, checkpoint: &Checkpoint) -> Result<Vec<u8>, Error> {
    let record = Record {
        connector_name,
        flowd_version: env!("CARGO_PKG_VERSION"),
        time_us: checkpoint.time_us,
        read: &checkpoint.read.0,
        emitted: &checkpoint.emitted.0,
        acked: &checkpoint.acked.0,
        extra: &checkpoint.extra,
    };
    let body = rkyv::to_bytes::<Error>(&record)?;
    let mut bytes = Vec::with_capacity(HEAD + body.len());
    bytes.push(FORMAT);
    bytes.extend_from_slice(&crc32fast::hash(&body).to_le_bytes());
    bytes.extend_from_slice(&body);
    Ok(bytes)
}

/// Reads a checkpoint. The error is a sentence about the record, without its place.
pub(crate) fn decode(bytes: &[u8]) -> Result<Stored, String> {
    let Some((&format, rest)) = bytes.split_first() else {
        return Err("it is empty".into());
    };
    if format != FORMAT {
        return Err(format!("it has format version {format}, this flowd reads only version {FORMAT}"));
    }
    let Some((sum, body)) = rest.split_first_chunk::<4>() else {
        return Err(format!("it is cut off after {} bytes", bytes.len()));
    };
    let (expected, found) = (u32::from_le_bytes(*sum), crc32fast::hash(body));
    if expected != found {
        return Err(format!("its checksum is {found:08x} and should be {expected:08x}"));
    }
    let record = rkyv::access::<ArchivedRecord<'_>, Error>(body)
        .map_err(|error| format!("it is not a checkpoint record: {error}"))?;
    let copied = |bytes: &[u8]| Bytes::copy_from_slice(bytes);
    Ok(Stored {
        checkpoint: Checkpoint {
            read: Position(copied(&record.read)),
            emitted: Position(copied(&record.emitted)),
            acked: Position(copied(&record.acked)),
            time_us: record.time_us.to_native(),
            extra: copied(&record.extra),
        },
        connector_name: record.connector_name.to_string(),
        flowd_version: record.flowd_version.to_string(),
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn checkpoint(number: u8) -> Checkpoint {
        Checkpoint {
            read: Position(Bytes::from(vec![number, 3, 3, 3])),
            emitted: Position(Bytes::from(vec![number, 2])),
            acked: Position(Bytes::from(vec![number])),
            time_us: 1_700_000_000_000_000 + i64::from(number),
            extra: Bytes::from_static(b"fingerprint"),
        }
    }

    #[test]
    fn what_is_read_is_what_was_written_wherever_it_lies_in_memory() {
        let bytes = encode("orders", &checkpoint(9)).unwrap();
        for shift in 0..8 {
            let mut moved = vec![0; shift];
            moved.extend_from_slice(&bytes);
            let stored = decode(&moved[shift..]).unwrap();
            assert_eq!(stored.checkpoint, checkpoint(9));
            assert_eq!(stored.connector_name, "orders");
            assert_eq!(stored.flowd_version, env!("CARGO_PKG_VERSION"));
        }
    }

    #[test]
    fn an_empty_position_survives() {
        let bytes = encode("", &Checkpoint::default()).unwrap();
        assert_eq!(decode(&bytes).unwrap().checkpoint, Checkpoint::default());
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let bytes = encode("orders", &checkpoint(9)).unwrap();
        for index in 0..bytes.len() {
            assert!(decode(&bytes[..index]).is_err(), "cut at {index}");
            for bit in 0..8 {
                let mut broken = bytes.clone();
                broken[index] ^= 1 << bit;
                assert!(decode(&broken).is_err(), "bit {bit} of byte {index}");
            }
        }
    }

    #[test]
    fn a_right_checksum_over_nonsense_is_no_record() {
        for body in [&b"nonsense, nonsense, nonsense"[..], &[0xff; 200], &[]] {
            let mut bytes = vec![FORMAT];
            bytes.extend_from_slice(&crc32fast::hash(body).to_le_bytes());
            bytes.extend_from_slice(body);
            assert!(decode(&bytes).is_err());
        }
    }

    #[test]
    fn an_unknown_version_is_named() {
        let mut bytes = encode("orders", &checkpoint(9)).unwrap();
        bytes[0] = 7;
        assert!(decode(&bytes).unwrap_err().contains("format version 7"));
    }
}
