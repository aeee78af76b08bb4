//! Snapshots: what is there already, read beside the stream and handed over to it without a gap.

mod bounds;
mod bytes;
mod crash;
mod ddl;
mod final_state;
mod modes;
mod read_only;
mod resume;
mod workers;
