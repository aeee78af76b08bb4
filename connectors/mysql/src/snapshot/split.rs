//! A key about half way inside a range.
