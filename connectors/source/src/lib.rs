//! What a source of messages implements, and all that such sources share.
//!
//! A connector is one [`Connector`] constant: its name, its settings as data, and how it is opened. What it opens is an
//! [`EventSource`], which reads from its system and pushes [`Event`]s; [`Events`] is for one that blocks, [`Feeder`] for one
//! on an asynchronous client, and [`Client`] is the thread of a client that has enough to do for one. In the direction of the
//! data: [`connector`] is the contract, [`subject`] names the topic, [`event`] is what is pushed ([`binding`] reads it out of a
//! message with headers), [`events`] and [`feeder`] batch it and bring back what is acknowledged, and [`message_source`] is
//! the engine's view of it all, whose lanes write the CloudEvents (`encode`), or take [`block`]s apart.
//!
//! Not here: order, acknowledgements, checkpoints, memory bounds and dead letters. The engine has them.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod connector;
pub mod subject;

mod batch;
pub mod binding;
pub mod event;

pub mod client;
pub mod events;
pub mod feeder;

pub mod block;
mod encode;
pub mod message_source;

pub mod position;

pub use block::{BLOCK_BYTES, Block, Pieces};
pub use client::Client;
pub use connector::{Connector, Context, EventSource, Progress};
pub use event::{Data, Event};
pub use events::Events;
pub use feeder::{Feeder, News, run_async};
pub use flowd_engine::failure::Failure;
pub use flowd_engine::record::Position;
pub use flowd_engine::setting::{Kind, Preset, Setting, Settings, Wrong};
pub use flowd_engine::worker::{Closed, SourceEnd};
pub use subject::Subject;
