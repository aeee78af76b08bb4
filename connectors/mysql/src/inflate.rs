//! MariaDB's QUERY_COMPRESSED: a QUERY whose text is deflated. What it says must be known to tell whether it concerns
//! a captured table; rows that are compressed are refused elsewhere.

use std::io::Read;

use flate2::read::ZlibDecoder;
use flowd_binlog::event::{BadEvent, Header, Query, kind};

/// The longest text that is inflated, bytes: no definition is longer, and a damaged length must not cost memory.
const TEXT_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Reads a QUERY, or a QUERY_COMPRESSED with its text inflated into `text`.
pub(crate) fn query<'a>(
    header: &Header,
    body: &'a [u8],
    text: &'a mut Vec<u8>,
) -> Result<Query<'a>, BadEvent> {
    let query = Query::parse(body)?;
    if header.kind != kind::MARIA_QUERY_COMPRESSED {
        return Ok(query);
    }
    inflate(query.text, text).ok_or_else(|| {
        BadEvent::Malformed(header.kind, "a compressed text that cannot be inflated to its length".into())
    })?;
    Ok(Query { text, ..query })
}

/// The head says how many bytes hold the length (three bits; the algorithm, four above them, is 0 for zlib), which
/// stands big-endian before the zlib stream (MariaDB's sql/log_event.cc, `binlog_buf_compress`).
fn inflate(compressed: &[u8], text: &mut Vec<u8>) -> Option<()> {
    let (&head, rest) = compressed.split_first()?;
    if head & 0xf8 != 0x80 {
        return None;
    }
    let (length, stream) =
        rest.split_at_checked(usize::from(head & 7)).filter(|(length, _)| length.len() <= 4)?;
    let length = length.iter().fold(0, |length, byte| length << 8 | u64::from(*byte));
    if length > TEXT_BYTES_MAX {
        return None;
    }
    text.clear();
    ZlibDecoder::new(stream).take(length + 1).read_to_end(text).ok()?;
    (text.len() as u64 == length).then_some(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::ZlibEncoder;

    use super::*;

    fn deflated(text: &str) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text.as_bytes()).expect("a Vec takes all");
        encoder.finish().expect("a Vec takes all")
    }

    #[test]
    fn a_compressed_text_is_read_or_refused() {
        let text = "ALTER TABLE t COMMENT '".to_owned() + &"x".repeat(300);
        let event = [&[0x82, 1, 67], &*deflated(&text)].concat();
        let mut inflated = vec![1, 2, 3];
        assert_eq!(inflate(&event, &mut inflated), Some(()));
        assert_eq!(inflated, text.as_bytes());
        for cut in 0..event.len() - 4 {
            assert_eq!(inflate(&event[..cut], &mut inflated), None, "cut at {cut}");
        }
        let lengths = [[0x82, 1, 66], [0x82, 1, 68], [0x92, 1, 67], [2, 1, 67]];
        for wrong in lengths {
            assert_eq!(inflate(&[&wrong, &event[3..]].concat(), &mut inflated), None, "{wrong:x?}");
        }
        assert_eq!(inflate(&[0x84, 0xff, 0xff, 0xff, 0xff], &mut inflated), None, "a huge length");
    }
}
