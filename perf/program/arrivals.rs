//! What a subscriber sees: each row counted once, and when the first and the last came.

use std::io::BufRead;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::Failure;

/// Nothing for so long means that no more will come.
const QUIET: Duration = Duration::from_secs(20);
/// Where a row's key stands in an event of flowd's.
const KEY: &str = "\"after\":{\"id\":";

/// The rows with the keys 1..=`rows`, as they arrived.
pub(crate) struct Arrivals {
    rows: u64,
    /// One bit a key.
    seen: Vec<u64>,
    arrived: u64,
    last: Instant,
    first: Option<Instant>,
    failure: Option<String>,
}

/// What came of a run at the subscriber.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen {
    pub(crate) arrived: u64,
    /// From the first row to the last.
    pub(crate) span: Duration,
}

impl Arrivals {
    /// Of so many rows, for any number of readers.
    pub(crate) fn new(rows: u64) -> Arc<Mutex<Self>> {
        let words = usize::try_from(rows / 64 + 1).unwrap_or(usize::MAX);
        let seen = vec![0; words];
        Arc::new(Mutex::new(Self {
            rows,
            seen,
            arrived: 0,
            last: Instant::now(),
            first: None,
            failure: None,
        }))
    }

    /// Reads events, one a line, until all rows are there, whoever read them, or nothing comes any more.
    pub(crate) fn read(
        lines: impl BufRead + Send + 'static,
        arrivals: &Arc<Mutex<Self>>,
    ) -> Result<Seen, Failure> {
        let counted = Arc::clone(arrivals);
        // It ends with its input, which the caller ends.
        std::thread::spawn(move || count(lines, &counted));
        loop {
            std::thread::sleep(Duration::from_millis(20));
            let now = arrivals.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(failure) = &now.failure {
                return Err(failure.clone().into());
            }
            if now.arrived == now.rows || now.last.elapsed() > QUIET {
                let span = now.first.map_or(Duration::ZERO, |first| now.last - first);
                return Ok(Seen { arrived: now.arrived, span });
            }
        }
    }

    fn add(&mut self, line: &str) -> Result<(), Failure> {
        let key = line.find(KEY).map(|place| &line[place + KEY.len()..]).ok_or("an event without a row")?;
        let digits = key.bytes().take_while(u8::is_ascii_digit).count();
        let key: u64 = key[..digits].parse()?;
        if key == 0 || key > self.rows {
            return Err("no row of the table".into());
        }
        let (word, bit) = (usize::try_from(key / 64)?, 1 << (key % 64));
        if self.seen[word] & bit == 0 {
            self.seen[word] |= bit;
            self.arrived += 1;
            self.last = Instant::now();
            self.first.get_or_insert(self.last);
        }
        Ok(())
    }
}

fn count(mut lines: impl BufRead, arrivals: &Mutex<Arrivals>) {
    let mut line = String::new();
    while lines.read_line(&mut line).is_ok_and(|size| size > 0) {
        let mut arrivals = arrivals.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(failure) = arrivals.add(&line) {
            arrivals.failure = Some(format!("{failure}: {}", line.trim_end()));
            return;
        }
        line.clear();
    }
    let mut arrivals = arrivals.lock().unwrap_or_else(PoisonError::into_inner);
    if arrivals.arrived < arrivals.rows {
        arrivals.failure = Some("the subscriber ended".to_owned());
    }
}
