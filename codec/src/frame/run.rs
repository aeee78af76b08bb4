//! The frames of a run that [`Decoder::next_run`](super::Decoder::next_run) gave, without a copy and without a count.

use std::ops::Range;

use super::decoder::{DecodeError, header_of, whole_frame};
use super::push::PlainPush;
use super::{FRAME_HEAD_SIZE, Header, PACKAGE_LENGTH_MAX};

/// A frame in a run, and where in it the frame's body lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunFrame {
    /// A push in the form in which nearly all come.
    Push(PlainPush, Range<usize>),
    /// Any other frame.
    Other(Header, Range<usize>),
}

impl RunFrame {
    /// Any frame as its header and its body.
    pub fn into_parts(self) -> (Header, Range<usize>) {
        match self {
            Self::Push(push, body) => (push.header(), body),
            Self::Other(header, body) => (header, body),
        }
    }
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
        let (end, body) = (start + layout.frame_size, start + layout.body_at..start + layout.frame_size);
        if let Some(push) = PlainPush::read(&rest[FRAME_HEAD_SIZE..layout.body_at]) {
            self.at = end;
            return Some(Ok(RunFrame::Push(push, body)));
        }
        let header = header_of(&rest[..layout.frame_size], layout.body_at);
        if header.as_ref().err().is_none_or(DecodeError::is_soft) {
            self.at = end;
        }
        Some(header.map(|header| RunFrame::Other(header, body)))
    }
}
