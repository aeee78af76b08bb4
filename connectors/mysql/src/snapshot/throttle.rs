//! Bounds on how fast the source is read.
