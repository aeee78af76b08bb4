//! What the tests stand on: servers, SQL sessions, `flowd` processes, events read back, random changes.

mod dml;
mod events;
mod flowd;
mod server;
mod sql;
mod wait;

pub use dml::Dml;
pub use events::{Event, Events};
pub use flowd::{Flowd, Job, Mesh, Outcome};
pub use server::{ALL, Kind, Server};
pub use sql::Sql;
pub use wait::{free_port, until};
