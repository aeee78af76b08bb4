//! The frames of a run that [`Decoder::next_run`](super::Decoder::next_run) gave, without a copy and without a count.

use std::ops::Range;

use super::decoder::{DecodeError, header_of, whole_frame};
use super::{Header, PACKAGE_LENGTH_MAX};

/// A frame in a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunFrame {
    /// Command, result and properties.
    pub header: Header,
    /// Where in the run its body lies.
    pub body: Range<usize>,
}

/// The frames of a run, in order. A frame that is skipped is told as a soft error; behind any other error nothing
/// follows.
#[derive(Debug)]
pub struct Frames<'a> {
    run: &'a [u8],
    at: usize,
}

/// Tells the frames of a run apart.
pub fn frames(run: &[u8]) -> Frames<'_> {
    Frames { run, at: 0 }
}

impl Iterator for Frames<'_> {
    type Item = Result<RunFrame, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = &self.run[self.at..];
        if rest.is_empty() {
            return None;
        }
        // The decoder has looked at the limit; a torn frame at the end of what is no run is not told.
        let start = self.at;
        self.at = self.run.len();
        let layout = match whole_frame(rest, PACKAGE_LENGTH_MAX) {
            Ok(layout) => layout?,
            Err(error) => return Some(Err(error)),
        };
        let header = header_of(&rest[..layout.frame_size], layout.body_at);
        if header.as_ref().err().is_none_or(DecodeError::is_soft) {
            self.at = start + layout.frame_size;
        }
        Some(
            header.map(|header| RunFrame { header, body: start + layout.body_at..start + layout.frame_size }),
        )
    }
}
