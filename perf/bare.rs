//! The ceiling that perf/drain prints beside flowd: the same binlog over the same kind of connection, read by the same
//! reader, which only frames the events and verifies nothing.
//!
//! `bare HOST PORT USER PASSWORD` reads from the oldest binlog to its end at the time of the start, and prints
//! `EVENTS BYTES`.

// The two numbers are this program's answer.
#![allow(clippy::print_stdout, missing_docs)]

use std::error::Error;

use flowd_binlog::event::{self, Header, Rotate, kind};
use flowd_mysql::begin::decide;
use flowd_mysql::config::{MySqlConfig, MySqlSettings, Secret, SnapshotMode};
use flowd_mysql::connection::Connection;
use flowd_mysql::dump::{self, Replica};
use flowd_mysql::feed::{Feed, Next};
use flowd_mysql::position::{StartAt, StopAt};
use flowd_mysql::tls;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().ok_or("usage: bare HOST PORT USER PASSWORD");
    let (hostname, port, user) = (next()?, next()?.parse()?, next()?);
    let password = Secret::new(next()?);
    let snapshot_mode = SnapshotMode::Never;
    let settings =
        MySqlSettings { port, password, snapshot_mode, ..MySqlSettings::new("bare".into(), hostname, user) };
    let config = MySqlConfig::try_from(settings)?;
    let mut connection = Connection::connect(&config)?;
    let beginning = decide(&mut connection, &config, None, &StartAt::Earliest, Some(&StopAt::End))?;
    connection.close();
    let Some(flowd_mysql::begin::End::Place { file, offset, .. }) = beginning.end else {
        return Err("the end of the binlog is a place".into());
    };
    let mut feed =
        dump::open(&config, &Replica::new(&config, "perf"), &beginning.position.binlog, usize::MAX)?.feed;
    let (events, bytes) = read_to(&mut feed, &file, offset)?;
    println!("{events} {bytes}");
    Ok(())
}

/// Frames events until the file's offset is reached; counts them and their bytes.
fn read_to(feed: &mut Feed<tls::Stream>, file: &str, offset: u64) -> Result<(u64, u64), Box<dyn Error>> {
    let (mut events, mut bytes, mut place) = (0, 0, 4);
    let mut in_last_file = false;
    loop {
        match feed.next_event()? {
            Next::Event(range) => {
                let event = &feed.bytes()[range];
                let header = Header::parse(event)?;
                events += 1;
                bytes += u64::from(header.length);
                if header.kind == kind::ROTATE {
                    let body = event::body(&header, event, event::detect_checksum(event))?;
                    in_last_file = Rotate::parse(body)?.file == file;
                    place = 4;
                } else if !header.is_artificial() {
                    place = header.end_offset(place);
                }
                if in_last_file && place >= offset {
                    return Ok((events, bytes));
                }
            }
            Next::Oversize(..) => return Err("no event is too large here".into()),
            Next::Nothing => {
                feed.discard();
                feed.fill()?;
            }
        }
    }
}
