//! What the fuzz targets run on bytes from outside: no input may panic, and what is written must be JSON that a walk
//! over the same bytes agrees with.

use crate::catalog::{CatalogColumn, CatalogTable};
use crate::charset::InvalidText;
use crate::event::{self, Gtid, Header, MariaGtidEvent, Query, Rotate, Statement, kind};
use crate::gtid::GtidSet;
use crate::result;
use crate::row::{Rows, Scratch};
use crate::table::{Flavour, Options, Table};

/// Rows that one input may give; with no columns present a row takes no byte at all.
const ROWS_MAX: usize = 1000;

/// Reads `input` as `[flags, type, length low, length high, TABLE_MAP body…, ROWS body…]` and encodes every row.
///
/// # Panics
/// Where encoding and walking disagree: that is the defect a fuzzer looks for.
pub fn table_and_rows(input: &[u8]) {
    let [flags, event_type, low, high, bytes @ ..] = input else { return };
    let length = usize::from(u16::from_le_bytes([*low, *high])).min(bytes.len());
    let (map, body) = bytes.split_at(length);
    let options = Options {
        flavour: if flags & 1 == 0 { Flavour::MySql } else { Flavour::MariaDb },
        invalid_text: if flags & 2 == 0 { InvalidText::Stop } else { InvalidText::Replace },
        exclude: &|_, _, column| column.starts_with('x'),
    };
    let Ok(table) = Table::from_table_map(map, None, &options) else { return };
    assert!(table.is_made_from(map));
    let Ok(mut rows) = Rows::open(&table, *event_type, body) else { return };
    let Ok(mut walked) = Rows::open(&table, *event_type, body) else { return };
    let (mut out, mut scratch) = (Vec::new(), Scratch::new());
    for _ in 0..ROWS_MAX {
        out.clear();
        let Ok(Some(row)) = rows.encode(&mut out, &mut scratch) else { return };
        assert_eq!(walked.skip(), Ok(true));
        assert_eq!(walked.mark(), rows.mark());
        for image in [row.before, row.after].into_iter().flatten() {
            let image = &out[image];
            assert!(image.first() == Some(&b'{') && image.last() == Some(&b'}'));
            assert!(std::str::from_utf8(image).is_ok());
        }
        assert!(std::str::from_utf8(scratch.key()).is_ok());
    }
}

/// A column type of each kind with its character set.
const RESULT_TYPES: [(&str, &str); 28] = [
    ("tinyint", ""),
    ("tinyint unsigned", ""),
    ("smallint", ""),
    ("mediumint", ""),
    ("mediumint unsigned", ""),
    ("int", ""),
    ("int unsigned", ""),
    ("bigint", ""),
    ("bigint unsigned", ""),
    ("year", ""),
    ("float", ""),
    ("double", ""),
    ("decimal(10,2)", ""),
    ("bit(1)", ""),
    ("bit(64)", ""),
    ("date", ""),
    ("time(3)", ""),
    ("datetime", ""),
    ("datetime(5)", ""),
    ("timestamp(6)", ""),
    ("varchar(9)", "utf8mb4"),
    ("text", "latin1"),
    ("char(9)", "utf16"),
    ("text", "gbk"),
    ("binary(5)", ""),
    ("enum('a')", "ascii"),
    ("json", "utf8mb4"),
    ("uuid", ""),
];

/// Reads `input` as `[flags, count, type…, row…]`, the row as one of a result set whose first column is its key.
///
/// # Panics
/// Where what is written is no text, or a row that was encoded has no key: that is the defect a fuzzer looks for.
pub fn result_row(input: &[u8]) {
    let [flags, count, bytes @ ..] = input else { return };
    let (types, row) = bytes.split_at(usize::from(count & 31).min(bytes.len()));
    let table = result_table(*flags, types);
    let (mut out, mut scratch) = (Vec::new(), Scratch::new());
    let key = result::key(&table, row);
    if result::encode(&table, row, 0, &mut out, &mut scratch).is_ok() {
        assert!(std::str::from_utf8(&out).is_ok() && std::str::from_utf8(scratch.key()).is_ok());
        assert_eq!(key.map(|key| key.len()), Ok(usize::from(table.has_key())));
    }
}

fn result_table(flags: u8, types: &[u8]) -> Table {
    let column = |(index, &code): (usize, &u8)| {
        let (column_type, charset) = RESULT_TYPES[usize::from(code) % RESULT_TYPES.len()];
        CatalogColumn {
            name: format!("c{index}"),
            column_type: column_type.into(),
            charset: (!charset.is_empty()).then(|| charset.into()),
            ..CatalogColumn::default()
        }
    };
    let columns: Vec<_> = types.iter().enumerate().map(column).collect();
    let key = if columns.is_empty() { vec![] } else { vec![0] };
    let catalog = CatalogTable { columns, key, ..CatalogTable::default() };
    let options = Options {
        flavour: if flags & 1 == 0 { Flavour::MySql } else { Flavour::MariaDb },
        invalid_text: if flags & 2 == 0 { InvalidText::Stop } else { InvalidText::Replace },
        exclude: &|_, _, column| flags & 4 != 0 && column == "c1",
    };
    Table::from_catalog(&catalog, &options).expect("types that are all transported")
}

/// Reads `input` as one whole event and parses its body as its type says; sets of GTIDs must survive a round trip.
///
/// # Panics
/// Where a set that was decoded encodes to something else.
pub fn event(input: &[u8]) {
    let Ok(header) = Header::parse(input) else { return };
    if header.kind == kind::FORMAT_DESCRIPTION {
        drop(event::format_description(input));
        return;
    }
    let Ok(body) = event::body(&header, input, event::detect_checksum(input)) else { return };
    match header.kind {
        kind::ROTATE => drop(Rotate::parse(body)),
        kind::QUERY => {
            if let Ok(query) = Query::parse(body) {
                assert!(query.text.len() <= body.len());
                Statement::of(query.text);
                event::mentions(query.text, "orders");
                event::defines(query.text, "orders");
                event::qualifiers(query.text);
                query.changed_schemas();
                event::savepoint(query.text);
            }
        }
        kind::GTID | kind::ANONYMOUS_GTID => drop(Gtid::parse(body)),
        kind::GTID_TAGGED => drop(Gtid::parse_tagged(body)),
        kind::MARIA_GTID => drop(MariaGtidEvent::parse(&header, body)),
        kind::PREVIOUS_GTIDS => {
            if let Ok(set) = GtidSet::decode(body) {
                let mut encoded = Vec::new();
                set.encode(&mut encoded);
                assert_eq!(GtidSet::decode(&encoded).as_ref(), Ok(&set));
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_event_makes_its_parser_panic() {
        for round in 1..=100_000u64 {
            let mut random = Random(round.wrapping_mul(0x9E37_79B9_7F4A_7C15));
            let length = 19 + random.below(60);
            let mut input: Vec<u8> = (0..length).map(|_| random.below(256) as u8).collect();
            // A quarter of the bytes small: lengths and counts that fit are rare among random ones.
            for byte in &mut input[19..] {
                if random.below(4) == 0 {
                    *byte = random.below(8) as u8;
                }
            }
            input[4] = [2, 4, 15, 33, 34, 35, 42, 162][random.below(8)];
            input[9..13].copy_from_slice(&(length as u32).to_le_bytes());
            event(&input);
        }
    }

    /// A row with a value of every type.
    fn seed_row() -> Vec<u8> {
        let count = RESULT_TYPES.len();
        let mut input = vec![0, count as u8];
        input.extend(0..count as u8);
        input.extend_from_slice(&[0, 0, 0, 0, 0]);
        input.extend_from_slice(&[0x80, 0xFF, 1, 2, 1, 2, 3, 0xFF, 1, 2, 3, 0]);
        input.extend((0..4 + 4 + 8 + 8).map(|number| number * 9));
        input.extend_from_slice(&[0xE2, 7, 0, 0, 0x80, 0x3F, 0, 0, 0, 0, 0, 0, 4, 0x40]);
        input.extend_from_slice(b"\x04-1.5\x01\x01\x08\x80\0\0\0\0\0\0\x01");
        input.extend_from_slice(&[4, 0xE4, 7, 5, 0, 12, 1, 1, 0, 0, 0, 1, 2, 3, 0x3F, 0x42, 0xF, 0, 0]);
        input.extend_from_slice(&[7, 0xE4, 7, 1, 2, 3, 4, 5, 11, 0xE4, 7, 1, 2, 3, 4, 5, 1, 0, 0, 0]);
        input.extend_from_slice("\x03a\u{e9}\x01\u{7f}".as_bytes());
        input.extend_from_slice(&[4, 0xD8, 0x3D, 0xDE, 0, 2, 0xC4, 0xE3, 5, 1, 2, 0, 0, 0, 1, b'a']);
        input.extend_from_slice(b"\x0A{\"a\": 1.0}\x240f3a2b1c-1111-4222-8333-0123456789ab");
        input
    }

    #[test]
    fn the_seed_row_has_a_value_of_every_type() {
        let input = seed_row();
        let (types, row) = input[2..].split_at(RESULT_TYPES.len());
        let mut out = Vec::new();
        result::encode(&result_table(0, types), row, 0, &mut out, &mut Scratch::new()).expect("a valid row");
        let json: serde_json::Value = serde_json::from_slice(&out).expect("JSON");
        assert_eq!(json.as_object().map(serde_json::Map::len), Some(RESULT_TYPES.len()));
    }

    #[test]
    fn no_row_of_a_result_set_makes_its_decoder_panic() {
        let seed = seed_row();
        for round in 1..=20_000u64 {
            let mut random = Random(round.wrapping_mul(0x9E37_79B9_7F4A_7C15));
            let mut input = seed.clone();
            input[0] = random.below(8) as u8;
            random.damage(&mut input);
            result_row(&input);
        }
    }

    /// A small generator of its own (xorshift), so that a failure's seed replays it on every machine.
    struct Random(u64);

    impl Random {
        fn below(&mut self, bound: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            (self.0 % bound as u64) as usize
        }

        /// Changes, cuts off or adds a few bytes.
        fn damage(&mut self, input: &mut Vec<u8>) {
            for _ in 0..=self.below(6) {
                let at = self.below(input.len());
                match self.below(4) {
                    0 => input[at] = self.below(256) as u8,
                    1 => input[at] ^= 1 << self.below(8),
                    2 => input.truncate(at + 1),
                    _ => input.insert(at, self.below(256) as u8),
                }
            }
        }
    }

    /// All types that need care in one table, and two rows of it.
    fn seed_input() -> Vec<u8> {
        let types = [3, 15, 246, 254, 254, 254, 17, 18, 19, 245, 252, 16, 10, 13, 5];
        let sizes = [40, 0, 10, 2, 254, 16, 247, 1, 248, 1, 3, 6, 2, 2, 2, 1, 1, 8];
        let mut map = vec![7, 0, 0, 0, 0, 0, 1, 0, 1, b's', 0, 1, b't', 0, types.len() as u8];
        map.extend_from_slice(&types);
        map.push(sizes.len() as u8);
        map.extend_from_slice(&sizes);
        map.extend_from_slice(&[0xFF, 0x7F, 1, 1, 0x80, 3, 3, 45, 63, 8, 4, types.len() as u8 * 2]);
        (b'a'..).take(types.len()).for_each(|name| map.extend_from_slice(&[1, name]));
        map.extend_from_slice(&[6, 3, 1, 1, b'A', 5, 5, 2, 1, b'B', 1, b'C', 10, 1, 45, 8, 1, 0]);
        let mut body = vec![7, 0, 0, 0, 0, 0, 1, 0, 2, 0, types.len() as u8, 0xFF, 0x7F];
        for _ in 0..2 {
            body.extend_from_slice(&[0, 0, 1, 0, 0, 0, 2, b'h', 0x7F, 0x80, 0, 0, 1, 5, 1, 9, 1, 3]);
            body.extend_from_slice(&[0x5B, 0x2A, 0x58, 0x7F, 4, 0xB0, 0x99, 0xA0, 0x28, 0x69, 0x43, 1, 2, 3]);
            body.extend_from_slice(&[0x7F, 0xFF, 0xFF, 0xCE, 8, 0, 0x02, 1, 0, 7, 0, 0x05, 5, 0, 1, 0, 0xE9]);
            body.extend_from_slice(&[0, 7, 0x30, 0xC1, 0x0F, 118, 0, 0, 0, 0, 0, 0, 4, 0x40]);
        }
        let mut input = vec![0, 30];
        input.extend_from_slice(&(map.len() as u16).to_le_bytes());
        input.extend_from_slice(&map);
        input.extend_from_slice(&body);
        input
    }

    #[test]
    fn the_seed_reaches_the_rows() {
        let input = seed_input();
        let length = usize::from(u16::from_le_bytes([input[2], input[3]]));
        let (map, body) = input[4..].split_at(length);
        let options =
            Options { flavour: Flavour::MySql, invalid_text: InvalidText::Stop, exclude: &|_, _, _| false };
        let table = Table::from_table_map(map, None, &options).expect("a valid TABLE_MAP");
        let mut rows = Rows::open(&table, 30, body).expect("a valid head");
        let mut out = Vec::new();
        while rows.encode(&mut out, &mut Scratch::new()).expect("a valid row").is_some() {
            serde_json::from_slice::<serde_json::Value>(&out).expect("JSON");
            out.clear();
        }
        assert_eq!(rows.mark().row, 2);
    }

    #[test]
    fn no_bytes_make_the_decoder_panic() {
        let seed = seed_input();
        for round in 1..=20_000u64 {
            let mut random = Random(round.wrapping_mul(0x9E37_79B9_7F4A_7C15));
            let mut input = seed.clone();
            random.damage(&mut input);
            if input.len() > 1 && round % 4 != 0 {
                input[1] = [23, 24, 25, 30, 31, 32][random.below(6)];
            }
            table_and_rows(&input);
        }
    }
}
