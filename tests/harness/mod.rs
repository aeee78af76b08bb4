//! What the tests stand on: servers, SQL sessions, `flowd` processes, events read back, random changes.

mod churn;
mod dml;
mod events;
mod flowd;
mod mesh;
mod messages;
mod metrics;
mod replica;
mod server;
mod sink;
mod sql;
mod wait;

pub use churn::{Churn, SCHEMA, SHAPES};
pub use dml::Dml;
pub use events::{Event, Events};
pub use flowd::{Flowd, Job, Outcome};
pub use mesh::{Mesh, publish};
pub use metrics::Metrics;
pub use replica::{Arrival, Replica};
pub use server::{ALL, Kind, Server};
pub use sink::{Counted, Flow};
pub use sql::Sql;
pub use wait::{free_port, until};
