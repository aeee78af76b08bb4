//! Events as lines: one JSON a line, as it came.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::thread;
use std::time::Duration;

use flowd_engine::failure::Failure;
use flowd_engine::parcel::Parcel;
use flowd_engine::worker::Outlet;

use crate::event::{Content, SinkEvent};
use crate::letter::letter;

/// A terminal or pipe may be in non-blocking mode by somebody else's doing; it is asked again after this.
const BUSY_WAIT: Duration = Duration::from_millis(5);

/// Appends the parcel's events as lines. What is no CloudEvent follows `onReject`; an event whose change cannot be
/// understood is an event all the same.
pub(crate) fn append(
    out: &mut Vec<u8>,
    parcel: &Parcel<SinkEvent>,
    parcels: &mut dyn Outlet<SinkEvent>,
) -> Result<(), Failure> {
    for event in &parcel.events {
        let json = event.json.of(&parcel.buffer);
        if let Content::Bad { reason } = &event.content
            && event.id.start == event.id.end
        {
            let (told, line) = letter(reason, json);
            parcels.reject(&told, &line)?;
            continue;
        }
        let start = out.len();
        out.extend_from_slice(json);
        // In JSON these stand only between members, where a blank does as well.
        out[start..].iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')).for_each(|byte| *byte = b' ');
        out.push(b'\n');
    }
    Ok(())
}

/// A file of our own on standard output: std's line buffer would only copy.
pub(crate) fn standard_output() -> io::Result<File> {
    Ok(File::from(io::stdout().as_fd().try_clone_to_owned()?))
}

/// Writes all of it to a pipe or terminal.
pub(crate) fn write_all(output: &mut impl Write, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match output.write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(BUSY_WAIT),
            Err(error) => return Err(error),
        }
    }
    output.flush()
}
