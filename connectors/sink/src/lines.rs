//! Events as lines: one JSON a line, as it came.

use flowd_engine::failure::Failure;
use flowd_engine::parcel::Parcel;
use flowd_engine::worker::Outlet;
use memchr::memchr2;

use crate::event::{Content, SinkEvent};
use crate::letter::letter;

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
        let mut start = out.len();
        out.extend_from_slice(json);
        // In JSON these stand only between members, where a blank does as well.
        while let Some(at) = memchr2(b'\n', b'\r', &out[start..]) {
            start += at;
            out[start] = b' ';
        }
        out.push(b'\n');
    }
    Ok(())
}
