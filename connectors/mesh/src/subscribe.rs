//! Subscribing to EventMesh: one connection that is kept open, what it was pushed in runs, and the acknowledgements.
//!
//! [`mod@feed`] is for whoever has an event loop, [`source`] makes of it a source of a pipeline.

pub mod feed;
pub mod source;
pub mod stats;

mod connection;
mod keeper;

pub use feed::{Feed, Push, Run, feed};
pub use source::MeshSource;
