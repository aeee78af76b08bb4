//! What a sink does to each event before its store sees it.

fn main() {}
