//! Files: the bare loop of a source reads lines and checks that each is JSON, that of a sink writes such
//! lines as the sink writes, and makes each 2,048 of them durable before it goes on: half of what EventMesh has on its way at
//! most, as a sink has to before more can come.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::{Connector, System, Way, Work, attributes, message};
use crate::Failure;

pub(crate) const SOURCE: Connector = Connector {
    name: "file-source",
    way: Way::Source,
    times: 10,
    begin: |directory| begin(directory, Way::Source),
    bare: |_, arguments| {
        let mut lines = 0;
        for line in BufReader::with_capacity(256 << 10, File::open(path(arguments)?)?).lines() {
            let _: serde::de::IgnoredAny = serde_json::from_str(&line?)?;
            lines += 1;
        }
        Ok(lines)
    },
};

pub(crate) const SINK: Connector = Connector {
    name: "file-sink",
    way: Way::Sink,
    times: 4,
    begin: |directory| begin(directory, Way::Sink),
    bare: |work, arguments| {
        let mut file = BufWriter::with_capacity(256 << 10, File::create(path(arguments)?)?);
        for first in (0..work.messages).step_by(SYNC_EVENTS) {
            let until = work.messages.min(first + SYNC_EVENTS as u64);
            write_lines(&mut file, first..until, |number, out| event(number, work.bytes, out))?;
            file.flush()?;
            file.get_ref().sync_data()?;
        }
        Ok(work.messages)
    },
};

/// What the loop of a sink makes durable at once.
const SYNC_EVENTS: usize = 2_048;

struct Lines {
    way: Way,
    path: PathBuf,
}

fn begin(directory: &Path, way: Way) -> Result<Box<dyn System>, Failure> {
    Ok(Box::new(Lines { way, path: directory.join("messages.jsonl") }))
}

fn path(arguments: &[String]) -> Result<&Path, Failure> {
    Ok(Path::new(arguments.first().ok_or("no path")?))
}

/// What the embedded mesh and the client that publishes to it add to an event.
const ADDED: &str = concat!(
    r#""protocoltype":"cloudevents","protocolversion":"1.0","protocoldesc":"tcp","#,
    r#""reqc2eventmeshtimestamp":"1796020792125","reqeventmesh2mqtimestamp":"1796020792125","#,
    r#""reqmq2eventmeshtimestamp":"1796020794678","reqeventmesh2ctimestamp":"1796020794678","#,
    r#""reqsendeventmeship":"127.0.0.1","reqreceiveeventmeship":"127.0.0.1","#,
    r#""rsp0sys":"flowd","rsp0group":"perf","rsp0idc":"DC1","rsp0ip":"127.0.0.1""#
);

/// Messages, one a line, on the disk when it returns.
pub(crate) fn write_messages(path: &Path, work: Work) -> Result<(), Failure> {
    let mut file = BufWriter::with_capacity(256 << 10, File::create(path)?);
    write_lines(&mut file, 0..work.messages, |number, out| message(number, work.bytes, out))?;
    Ok(file.into_inner().map_err(|failure| failure.into_error())?.sync_data()?)
}

/// A message as the event that comes out of the mesh.
fn event(number: u64, bytes: usize, out: &mut Vec<u8>) {
    out.push(b'{');
    for (name, value) in attributes(number) {
        write!(out, r#""{name}":"{value}","#).expect("a buffer takes everything");
    }
    out.extend_from_slice(br#""datacontenttype":"application/cloudevents+json","data":"#);
    message(number, bytes, out);
    out.push(b',');
    out.extend_from_slice(ADDED.as_bytes());
    out.push(b'}');
}

fn write_lines(
    file: &mut impl Write,
    numbers: Range<u64>,
    write: impl Fn(u64, &mut Vec<u8>),
) -> Result<(), Failure> {
    let mut line = Vec::new();
    for number in numbers {
        line.clear();
        write(number, &mut line);
        line.push(b'\n');
        file.write_all(&line)?;
    }
    Ok(())
}

impl System for Lines {
    fn reset(&mut self, work: Work) -> Result<(), Failure> {
        match self.way {
            Way::Source if self.path.exists() => Ok(()),
            Way::Source => write_messages(&self.path, work),
            Way::Sink => Ok(File::create(&self.path)?.sync_all()?),
        }
    }

    fn settings(&self) -> String {
        match self.way {
            Way::Source => format!("paths: [\"{}\"], format: json", self.path.display()),
            Way::Sink => format!("path: \"{}\", rotateBytes: 64GiB", self.path.display()),
        }
    }

    fn arguments(&self) -> Vec<String> {
        vec![self.path.display().to_string()]
    }

    fn count(&mut self) -> Result<u64, Failure> {
        Ok(BufReader::new(File::open(&self.path)?).lines().count() as u64)
    }
}
