//! Snapshots: what is there already, read beside the stream and handed over to it without a gap.

mod bytes;
mod crash;
mod final_state;
mod modes;
mod resume;
