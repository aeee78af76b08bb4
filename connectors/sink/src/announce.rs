//! What a sink tells those who wait for it: how far it has applied what they sent.

use flowd_codec::event::incoming::Chunk;

/// How far a lane is applied: everything of the epoch up to the number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watermark<'a> {
    /// The epoch.
    pub epoch: u64,
    /// The topic.
    pub topic: &'a str,
    /// The lane of the topic.
    pub lane: u16,
    /// The last number applied.
    pub sequence: u64,
}

/// A chunk of a snapshot, all of whose rows are applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finished<'a> {
    /// The snapshot's id.
    pub snapshot: &'a str,
    /// The chunk.
    pub chunk: Chunk,
}

/// Passes on what is applied to a source whose delivery is `applied`. Never fails and never blocks: what is lost is said
/// again, since watermarks are cumulative and what was applied before is told once more when it comes again.
pub trait Announce: Send {
    /// So far the source's events are applied and durable.
    fn applied(&mut self, source: &str, lanes: &[Watermark<'_>], chunks: &[Finished<'_>]);
}

/// Tells nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Announce for Silent {
    fn applied(&mut self, _source: &str, _lanes: &[Watermark<'_>], _chunks: &[Finished<'_>]) {}
}
