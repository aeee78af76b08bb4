//! Events as lines: one JSON a line, as it came.

use flowd_codec::json::write_on_one_line;
use flowd_engine::failure::Failure;
use flowd_engine::parcel::Parcel;
use flowd_engine::worker::Outlet;

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
        write_on_one_line(out, json);
        out.push(b'\n');
    }
    Ok(())
}
