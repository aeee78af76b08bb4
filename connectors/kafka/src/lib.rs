//! Apache Kafka: `source` takes the records of topics in a consumer group, `sink` produces events.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]
