//! The statements that read a chunk, and what must be known of a table before.
