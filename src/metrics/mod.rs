//! The pipeline's numbers for the outside: Prometheus text ([`text`]) and its endpoint ([`endpoint`]).

pub mod endpoint;
pub mod sink;
pub mod text;
