//! The optional metadata at the end of a TABLE_MAP (`binlog_row_metadata`), as type, length and value, laid out per
//! column. It borrows the event; it interprets no charset and no text.

use super::Flavour;
use super::wire::Wire;
use crate::value::reader::Reader;

/// What the optional fields say; empty or none where the server did not write them.
#[derive(Debug, Default)]
pub(crate) struct Metadata<'a> {
    /// Per column; none where the field is missing.
    pub(crate) unsigned: Option<Vec<bool>>,
    /// Collation id per column that is text.
    pub(crate) collations: Vec<Option<u64>>,
    /// Column names.
    pub(crate) names: Vec<&'a [u8]>,
    /// ENUM and SET texts per column.
    pub(crate) labels: Vec<Option<Vec<&'a [u8]>>>,
    /// Primary key, in key order.
    pub(crate) key: Vec<usize>,
}

impl<'a> Metadata<'a> {
    /// Reads the fields behind the null bitmap. None where one is cut or contradicts the column types.
    pub(crate) fn parse(bytes: &'a [u8], wires: &[Wire], flavour: Flavour) -> Option<Self> {
        let mut metadata =
            Self { collations: vec![None; wires.len()], labels: vec![None; wires.len()], ..Self::default() };
        let mut reader = Reader::new(bytes);
        while !reader.is_empty() {
            let field = reader.u8()?;
            let value = reader.length_encoded_bytes()?;
            metadata.field(field, value, wires, flavour)?;
        }
        Some(metadata)
    }

    fn field(&mut self, field: u8, value: &'a [u8], wires: &[Wire], flavour: Flavour) -> Option<()> {
        let mut reader = Reader::new(value);
        let is_character = |wire: Wire| wire.is_character(flavour);
        match field {
            1 => self.unsigned = Some(signedness(value, wires)?),
            2 => default_collations(&mut reader, &columns_of(wires, is_character), &mut self.collations)?,
            3 => column_collations(&mut reader, &columns_of(wires, is_character), &mut self.collations)?,
            4 => {
                while !reader.is_empty() {
                    self.names.push(reader.length_encoded_bytes()?);
                }
                return (self.names.len() == wires.len()).then_some(());
            }
            5 => labels(
                &mut reader,
                &columns_of(wires, |wire| matches!(wire, Wire::Set(_))),
                &mut self.labels,
            )?,
            6 => labels(
                &mut reader,
                &columns_of(wires, |wire| matches!(wire, Wire::Enum(_))),
                &mut self.labels,
            )?,
            8 | 9 => {
                while !reader.is_empty() {
                    self.key.push(reader.length().filter(|&index| index < wires.len())?);
                    if field == 9 {
                        // The prefix's length: a key over a prefix counts with the whole column.
                        reader.length_encoded()?;
                    }
                }
            }
            10 => default_collations(&mut reader, &columns_of(wires, is_enum_or_set), &mut self.collations)?,
            11 => column_collations(&mut reader, &columns_of(wires, is_enum_or_set), &mut self.collations)?,
            // 7 geometry types, 12 visibility, 13 vector dimensions: nothing that a row needs. Later fields are
            // optional by their nature.
            _ => {}
        }
        Some(())
    }
}

fn is_enum_or_set(wire: Wire) -> bool {
    matches!(wire, Wire::Enum(_) | Wire::Set(_))
}

fn columns_of(wires: &[Wire], include: impl Fn(Wire) -> bool) -> Vec<usize> {
    (0..wires.len()).filter(|&index| include(wires[index])).collect()
}

/// One bit per numeric column, from the high bit of the first byte; set is unsigned.
fn signedness(bits: &[u8], wires: &[Wire]) -> Option<Vec<bool>> {
    let mut unsigned = vec![false; wires.len()];
    for (bit, index) in columns_of(wires, Wire::is_numeric).into_iter().enumerate() {
        unsigned[index] = bits.get(bit / 8)? >> (7 - bit % 8) & 1 == 1;
    }
    Some(unsigned)
}

/// A collation for all `columns`, then pairs of an index into `columns` and a collation.
fn default_collations(
    reader: &mut Reader<'_>,
    columns: &[usize],
    collations: &mut [Option<u64>],
) -> Option<()> {
    let default = reader.length_encoded()?;
    for &index in columns {
        collations[index] = Some(default);
    }
    while !reader.is_empty() {
        let index = *columns.get(reader.length()?)?;
        collations[index] = Some(reader.length_encoded()?);
    }
    Some(())
}

/// A collation for each of `columns`.
fn column_collations(
    reader: &mut Reader<'_>,
    columns: &[usize],
    collations: &mut [Option<u64>],
) -> Option<()> {
    for &index in columns {
        collations[index] = Some(reader.length_encoded()?);
    }
    reader.is_empty().then_some(())
}

/// For each of `columns` a count and so many texts.
fn labels<'a>(
    reader: &mut Reader<'a>,
    columns: &[usize],
    labels: &mut [Option<Vec<&'a [u8]>>],
) -> Option<()> {
    for &index in columns {
        let count = reader.length()?;
        let mut texts = Vec::new();
        for _ in 0..count {
            texts.push(reader.length_encoded_bytes()?);
        }
        labels[index] = Some(texts);
    }
    reader.is_empty().then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIRES: [Wire; 6] =
        [Wire::Int(4), Wire::Varchar(10), Wire::Year, Wire::Enum(1), Wire::Blob(2), Wire::Set(1)];

    fn parse(bytes: &[u8]) -> Option<Metadata<'_>> {
        Metadata::parse(bytes, &WIRES, Flavour::MySql)
    }

    #[test]
    fn signedness_counts_numeric_columns_only_and_year_is_one() {
        let metadata = parse(&[1, 1, 0b0100_0000]).expect("valid");
        assert_eq!(metadata.unsigned, Some(vec![false, false, true, false, false, false]));
    }

    #[test]
    fn collations_over_255_and_exceptions_reach_their_columns() {
        let bytes = [2, 5, 0xFC, 0x00, 0x09, 1, 63, 10, 1, 8];
        let metadata = parse(&bytes).expect("valid");
        assert_eq!(metadata.collations, [None, Some(2304), None, Some(8), Some(63), Some(8)]);
    }

    #[test]
    fn the_servers_count_geometry_differently_among_the_text_columns() {
        let wires = [Wire::Geometry(4), Wire::Vector(4), Wire::Varchar(10)];
        let collations =
            |flavour, bytes| Metadata::parse(bytes, &wires, flavour).map(|metadata| metadata.collations);
        assert_eq!(collations(Flavour::MySql, &[3, 2, 63, 8]), Some(vec![None, Some(63), Some(8)]));
        assert_eq!(collations(Flavour::MariaDb, &[3, 3, 63, 63, 8]), Some(vec![Some(63), Some(63), Some(8)]));
        assert_eq!(collations(Flavour::MySql, &[3, 3, 63, 63, 8]), None);
    }

    #[test]
    fn texts_and_keys_stand_in_definition_order() {
        let bytes = [5, 4, 1, 2, b'x', b'y', 6, 5, 2, 1, b'a', 1, b'b', 9, 4, 1, 3, 0, 0];
        let metadata = parse(&bytes).expect("valid");
        assert_eq!(metadata.labels[5], Some(vec![&b"xy"[..]]));
        assert_eq!(metadata.labels[3], Some(vec![&b"a"[..], b"b"]));
        assert_eq!(metadata.key, [1, 0]);
    }

    #[test]
    fn a_field_that_contradicts_the_columns_is_refused() {
        assert!(parse(&[8, 1, 6]).is_none());
        assert!(parse(&[4, 2, 1, b'a']).is_none());
        assert!(parse(&[1, 0]).is_none());
        assert!(parse(&[2, 3, 8, 2, 63]).is_none());
        assert!(parse(&[6, 3, 0xFE, 1, 2]).is_none());
    }
}
