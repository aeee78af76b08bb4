//! The values of one parameter, a row each: a `text[]` in the server's binary form, written as it grows.
//!
//! So a statement takes any number of rows, is prepared once for each shape of rows, and no value ever stands in SQL.

use std::error::Error;
use std::ops::Range;

use bytes::{BufMut, BytesMut};
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

use crate::value::Written;

/// The length that stands for NULL.
const NULL: i32 = -1;

/// Texts and NULLs, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Texts {
    /// Each with its length before it.
    bytes: Vec<u8>,
    count: usize,
}

impl Texts {
    /// One text.
    pub(crate) fn of(text: &str) -> Self {
        [text].into_iter().collect()
    }

    /// Appends what `write` writes; nothing where it fails.
    pub(crate) fn push(
        &mut self,
        write: impl FnOnce(&mut Vec<u8>) -> Result<Written, String>,
    ) -> Result<(), String> {
        let start = self.bytes.len();
        self.bytes.put_i32(NULL);
        let body = self.bytes.len();
        match write(&mut self.bytes) {
            Ok(Written::Text) => {
                let size = i32::try_from(self.bytes.len() - body);
                let Ok(size) = size else {
                    self.bytes.truncate(start);
                    return Err("the value is longer than 2 GiB".into());
                };
                self.bytes[start..body].copy_from_slice(&size.to_be_bytes());
            }
            Ok(Written::Null) => self.bytes.truncate(body),
            Err(reason) => {
                self.bytes.truncate(start);
                return Err(reason);
            }
        }
        self.count += 1;
        Ok(())
    }

    /// Appends all of another's.
    pub(crate) fn append(&mut self, other: &Self) {
        self.bytes.extend_from_slice(&other.bytes);
        self.count += other.count;
    }

    /// Empties it; its memory stays.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.count = 0;
    }

    /// Some of them.
    pub(crate) fn slice(&self, rows: Range<usize>) -> Self {
        let start = self.offset(rows.start);
        Self { bytes: self.bytes[start..self.offset(rows.end)].to_vec(), count: rows.len() }
    }

    /// Lengths and bytes: equal for equal values, and for those alone.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Each; `None` for NULL.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Option<&[u8]>> {
        let mut rest = self.bytes.as_slice();
        std::iter::from_fn(move || {
            let (size, behind) = rest.split_first_chunk()?;
            let size = usize::try_from(i32::from_be_bytes(*size)).ok();
            let (text, behind) = behind.split_at(size.unwrap_or(0));
            rest = behind;
            Some(size.map(|_| text))
        })
    }

    /// Where a row begins.
    fn offset(&self, row: usize) -> usize {
        self.iter().take(row).map(|text| size_of::<i32>() + text.map_or(0, <[u8]>::len)).sum()
    }
}

impl<T: AsRef<str>> FromIterator<T> for Texts {
    fn from_iter<I: IntoIterator<Item = T>>(texts: I) -> Self {
        let mut all = Self::default();
        for text in texts {
            let write = |out: &mut Vec<u8>| {
                out.extend_from_slice(text.as_ref().as_bytes());
                Ok(Written::Text)
            };
            all.push(write).expect("a text of ours is short");
        }
        all
    }
}

impl ToSql for Texts {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        out.put_i32(1); // dimensions
        out.put_i32(i32::from(self.iter().any(|text| text.is_none())));
        out.put_u32(Type::TEXT.oid());
        out.put_i32(i32::try_from(self.count)?);
        out.put_i32(1); // the first index
        out.put_slice(&self.bytes);
        Ok(IsNull::No)
    }

    fn accepts(kind: &Type) -> bool {
        *kind == Type::TEXT_ARRAY
    }

    to_sql_checked!();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_found_again_and_a_value_that_fails_leaves_nothing() {
        let mut texts: Texts = ["a", "", "bcd"].into_iter().collect();
        texts.push(|_| Ok(Written::Null)).unwrap();
        let partly = |out: &mut Vec<u8>| {
            out.push(1);
            Err("no".to_owned())
        };
        texts.push(partly).unwrap_err();
        texts.append(&Texts::of("e"));
        let all: Vec<_> = texts.iter().collect();
        assert_eq!(all, [Some(&b"a"[..]), Some(b""), Some(b"bcd"), None, Some(b"e")]);
        assert_eq!(texts.slice(1..4).iter().collect::<Vec<_>>(), all[1..4]);
        assert_eq!(texts.slice(4..5), Texts::of("e"));
        assert_ne!(texts.slice(1..2), texts.slice(3..4), "empty is not NULL");
    }
}
