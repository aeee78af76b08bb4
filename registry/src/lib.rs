//! Where progress is kept.
