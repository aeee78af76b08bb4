//! Text result sets and error packets (Protocol manual, "Text Resultset", "ERR_Packet").
//!
//! For control queries: everything is owned, nothing is fast. Invariant: nothing that the server sends panics.

use std::io::Read;

use crate::error::WireError;
use crate::packet::Channel;

/// More columns than these no table of the server has.
const COLUMNS_MAX: u64 = 8192;

/// The answer to a query: column names, and rows of values as text; `None` is NULL.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ResultSet {
    /// The columns' names, as the server says them.
    pub columns: Vec<String>,
    /// The rows, each with a value a column.
    pub rows: Vec<Row>,
}

/// One row: a value a column, `None` for NULL.
pub type Row = Vec<Option<Vec<u8>>>;

impl ResultSet {
    /// The index of the column of that name, whatever its case.
    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.eq_ignore_ascii_case(name))
    }

    /// The values of a column of that name as text, row by row; NULL and an absent column are "".
    pub fn texts<'a>(&'a self, name: &str) -> impl Iterator<Item = String> + use<'a> {
        let index = self.column(name).unwrap_or(usize::MAX);
        self.rows.iter().map(move |row| text(row, index))
    }
}

/// A value of a row as text; NULL and an absent column are "".
pub fn text(row: &Row, index: usize) -> String {
    row.get(index)
        .and_then(Option::as_deref)
        .map(|value| String::from_utf8_lossy(value).into_owned())
        .unwrap_or_default()
}

/// Writes `text` as an SQL string literal that means the same under every sql_mode.
pub fn literal(text: &str) -> String {
    let hex: String = text.bytes().map(|byte| format!("{byte:02X}")).collect();
    if hex.is_empty() { "''".to_owned() } else { format!("_utf8mb4 0x{hex}") }
}

/// Writes a name as an SQL identifier.
pub fn identifier(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// Reads the answer to one COM_QUERY. A statement without rows gives an empty set.
pub(crate) fn read_result<S: Read>(channel: &mut Channel<S>) -> Result<ResultSet, WireError> {
    let Some(count) = read_column_count(channel)? else { return Ok(ResultSet::default()) };
    let mut columns = Vec::new();
    for _ in 0..count {
        let packet = channel.read()?;
        let name = column_name(&packet)
            .ok_or_else(|| WireError::Protocol("a column definition cut short".into()))?;
        columns.push(name);
    }
    if !is_end(&channel.read()?) {
        return Err(WireError::Protocol("no end after the column definitions".into()));
    }
    let rows = read_rows(channel, columns.len())?;
    Ok(ResultSet { columns, rows })
}

/// The first packet of an answer: how many columns its rows have; `None` where it has none and is over.
pub(crate) fn read_column_count<S: Read>(channel: &mut Channel<S>) -> Result<Option<u64>, WireError> {
    let first = channel.read()?;
    let count = match first.first() {
        Some(0x00) => return Ok(None),
        Some(0xff) => return Err(server_error(&first)),
        Some(0xfb) => return Err(WireError::Protocol("a request for a local file".into())),
        _ => Reader(&first).length().filter(|count| (1..=COLUMNS_MAX).contains(count)),
    };
    count.map(Some).ok_or_else(|| WireError::Protocol("a result set without a column count".into()))
}

fn read_rows<S: Read>(channel: &mut Channel<S>, width: usize) -> Result<Vec<Row>, WireError> {
    let mut rows = Vec::new();
    loop {
        let packet = channel.read()?;
        if packet.first() == Some(&0xff) {
            return Err(server_error(&packet));
        }
        if is_end(&packet) {
            return Ok(rows);
        }
        let mut reader = Reader(&packet);
        let row: Option<Row> = (0..width).map(|_| reader.value()).collect();
        let row = row.filter(|_| reader.0.is_empty());
        rows.push(row.ok_or_else(|| WireError::Protocol("a row that does not fit its columns".into()))?);
    }
}

/// An EOF packet; a row that begins with 0xfe is longer.
pub(crate) fn is_end(packet: &[u8]) -> bool {
    packet.first() == Some(&0xfe) && packet.len() < 9
}

/// catalog, schema, table, original table, name, …
fn column_name(packet: &[u8]) -> Option<String> {
    let mut reader = Reader(packet);
    for _ in 0..4 {
        reader.bytes()?;
    }
    Some(String::from_utf8_lossy(reader.bytes()?).into_owned())
}

/// What an error packet says; before authentication it may have no SQLSTATE.
pub(crate) fn server_error(packet: &[u8]) -> WireError {
    let Some((code, rest)) = packet.get(1..).and_then(|rest| rest.split_first_chunk::<2>()) else {
        return WireError::Protocol("an error packet cut short".into());
    };
    let (state, message) = match rest {
        [b'#', rest @ ..] => rest.split_at_checked(5).unwrap_or((b"-----", rest)),
        _ => (&b"-----"[..], rest),
    };
    WireError::Server {
        code: u16::from_le_bytes(*code),
        state: String::from_utf8_lossy(state).into_owned(),
        message: String::from_utf8_lossy(message).into_owned(),
    }
}

/// Takes length-encoded things off the front.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn length(&mut self) -> Option<u64> {
        let width = match self.take(1)?[0] {
            small @ 0..=250 => return Some(u64::from(small)),
            0xfc => 2,
            0xfd => 3,
            0xfe => 8,
            _ => return None,
        };
        Some(self.take(width)?.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.length()?).ok()?;
        self.take(length)
    }

    /// `Some(None)` is NULL.
    fn value(&mut self) -> Option<Option<Vec<u8>>> {
        if self.0.first() == Some(&0xfb) {
            self.take(1)?;
            return Some(None);
        }
        Some(Some(self.bytes()?.to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn wire(payloads: &[&[u8]]) -> Vec<u8> {
        let mut channel = Channel::new(Vec::new());
        for payload in payloads {
            channel.write(payload).expect("a vector takes all");
        }
        channel.into_parts().0
    }

    fn column(name: &str) -> Vec<u8> {
        let mut packet = vec![3, b'd', b'e', b'f', 0, 0, 0, u8::try_from(name.len()).expect("short")];
        packet.extend_from_slice(name.as_bytes());
        packet.extend_from_slice(&[0; 14]);
        packet
    }

    const END: &[u8] = &[0xfe, 0, 0, 2, 0];

    fn answer(payloads: &[&[u8]]) -> Result<ResultSet, WireError> {
        read_result(&mut Channel::new(Cursor::new(wire(payloads))))
    }

    #[test]
    fn a_result_set_is_read_with_its_nulls() {
        let (a, b) = (column("a"), column("B"));
        let result = answer(&[&[2], &a, &b, END, &[1, b'x', 0xfb], &[0xfb, 0], END]).expect("a result set");
        assert_eq!(result.columns, ["a", "B"]);
        assert_eq!(result.rows, [[Some(b"x".to_vec()), None], [None, Some(vec![])]]);
        assert_eq!(result.texts("b").collect::<Vec<_>>(), ["", ""]);
        assert_eq!(result.texts("A").collect::<Vec<_>>(), ["x", ""]);
    }

    #[test]
    fn long_values_are_read_by_their_length_prefix() {
        let a = column("a");
        for length in [250_usize, 251, 65_535, 65_536] {
            let mut row = match length {
                250 => vec![250],
                251 | 65_535 => vec![0xfc, length.to_le_bytes()[0], length.to_le_bytes()[1]],
                _ => vec![0xfd, 0, 0, 1],
            };
            row.resize(row.len() + length, b'x');
            let result = answer(&[&[1], &a, END, &row, END]).expect("a result set");
            assert_eq!(text(&result.rows[0], 0).len(), length);
        }
    }

    #[test]
    fn a_statement_without_rows_gives_an_empty_set() {
        assert_eq!(answer(&[&[0, 0, 0, 2, 0, 0, 0]]).expect("OK"), ResultSet::default());
    }

    #[test]
    fn an_error_packet_is_the_servers_error_also_between_rows() {
        let error = b"\xff\x7a\x04#42S02Table 'x' doesn't exist";
        let a = column("a");
        for payloads in [vec![&error[..]], vec![&[1], &a, END, &error[..]]] {
            let error = answer(&payloads).expect_err("an error packet");
            assert_eq!(error.to_string(), "the server says 1146 (42S02): Table 'x' doesn't exist");
        }
    }

    #[test]
    fn an_error_before_authentication_may_have_no_state() {
        let error = server_error(b"\xff\x10\x04Too many connections");
        assert_eq!(error.code(), Some(1040));
        assert!(error.heals());
    }

    #[test]
    fn malformed_answers_are_refused_without_panic() {
        let a = column("a");
        let cases: [&[&[u8]]; 8] = [
            &[&[]],
            &[&[0xfb, b'f']],
            &[&[0xfc, 1]],
            &[&[1], &[3, b'd']],
            &[&[1], &a, &[1, b'x']],
            &[&[1], &a, END, &[9, b'x']],
            &[&[1], &a, END, &[1, b'x', 1]],
            &[&[0xff]],
        ];
        for payloads in cases {
            let error = answer(payloads).expect_err("malformed");
            assert!(matches!(error, WireError::Protocol(_)), "{payloads:?}: {error}");
        }
    }

    #[test]
    fn literals_and_identifiers_need_no_escapes() {
        assert_eq!(literal("a'\\"), "_utf8mb4 0x61275C");
        assert_eq!(literal(""), "''");
        assert_eq!(identifier("a`b"), "`a``b`");
    }
}
