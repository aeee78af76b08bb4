//! What arrived: events read back, each row counted once.

use std::io::BufRead;

use serde::Deserialize;

use crate::Failure;
use crate::tables::Content;

#[derive(Deserialize)]
struct Event {
    id: String,
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    op: String,
    after: Row,
}

/// The columns of all workloads' tables.
#[derive(Deserialize)]
struct Row {
    id: u64,
    user_id: Option<u64>,
    product_id: Option<u64>,
    quantity: Option<u64>,
    price: Option<String>,
    info: Option<String>,
    amount: Option<i64>,
    name: Option<String>,
    at: Option<String>,
}

impl Row {
    /// The text that the server took its checksum of.
    fn text(&self) -> Option<String> {
        let Self { id, user_id, product_id, quantity, price, info, amount, name, at } = self;
        match info {
            Some(info) => Some(format!(
                "{id}|{}|{}|{}|{}|{info}",
                user_id.as_ref()?,
                product_id.as_ref()?,
                quantity.as_ref()?,
                price.as_ref()?
            )),
            None => Some(format!("{id}|{}|{}|{}", amount.as_ref()?, name.as_ref()?, at.as_ref()?)),
        }
    }
}

/// Counts the events of one table whose keys are 1..=rows.
pub(crate) struct Cargo {
    /// One bit a key.
    seen: Vec<u64>,
    rows: u64,
    /// Events whose row had arrived before.
    pub(crate) again: u64,
    pub(crate) content: Content,
    pub(crate) ids: Ids,
}

impl Cargo {
    pub(crate) fn new(rows: u64) -> Self {
        let words = usize::try_from(rows / 64 + 1).unwrap_or(usize::MAX);
        Self { seen: vec![0; words], rows, again: 0, content: Content::default(), ids: Ids::default() }
    }

    /// Reads lines until the end, or, where there is none, until all rows are there.
    pub(crate) fn read(&mut self, mut lines: impl BufRead, endless: bool) -> Result<(), Failure> {
        let mut line = String::new();
        while !(endless && self.content.rows == self.rows) && lines.read_line(&mut line)? > 0 {
            self.add(&line).map_err(|failure| format!("{failure}: {}", line.trim_end()))?;
            line.clear();
        }
        Ok(())
    }

    fn add(&mut self, line: &str) -> Result<(), Failure> {
        let event: Event = serde_json::from_str(line)?;
        let row = event.data.after;
        if event.data.op != "r" || row.id == 0 || row.id > self.rows {
            return Err("no row of the table".into());
        }
        let (word, bit) = (usize::try_from(row.id / 64)?, 1 << (row.id % 64));
        if self.seen[word] & bit != 0 {
            self.again += 1;
            return Ok(());
        }
        self.seen[word] |= bit;
        let text = row.text().ok_or("a column is missing")?;
        self.content.rows += 1;
        self.content.keys += row.id;
        self.content.rows_crc += u64::from(crc32fast::hash(text.as_bytes()));
        self.ids.add(&event.id)
    }
}

/// The ids of a snapshot's rows: the snapshot's own id, which differs from run to run, and behind the first slash what
/// must be the same in each.
#[derive(Default)]
pub(crate) struct Ids {
    snapshot: String,
    /// From the slash on, each with a line feed.
    rest: Vec<u8>,
}

impl Ids {
    fn add(&mut self, id: &str) -> Result<(), Failure> {
        let (snapshot, rest) = id.split_at(id.find('/').ok_or("an id without a slash")?);
        if self.rest.is_empty() {
            snapshot.clone_into(&mut self.snapshot);
        }
        if self.snapshot != snapshot {
            return Err(format!("the snapshot is {} in earlier ids", self.snapshot).into());
        }
        self.rest.extend_from_slice(rest.as_bytes());
        self.rest.push(b'\n');
        Ok(())
    }

    /// The `drop` target's checksum of the same ids under another snapshot's id.
    pub(crate) fn checksum(&self, snapshot: &str) -> u64 {
        let mut id = snapshot.as_bytes().to_vec();
        self.rest.split(|byte| *byte == b'\n').filter(|rest| !rest.is_empty()).fold(0, |sum: u64, rest| {
            id.truncate(snapshot.len());
            id.extend_from_slice(rest);
            sum.wrapping_add(flowd_mesh::drop::id_checksum(&id))
        })
    }
}
