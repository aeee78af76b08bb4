//! RabbitMQ: `source` takes the messages of a queue, `sink` publishes events with confirms.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]
