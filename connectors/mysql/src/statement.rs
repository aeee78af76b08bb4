//! Prepared statements in the binary protocol (Protocol manual, "Prepared Statements"): parameters out, raw rows in.
