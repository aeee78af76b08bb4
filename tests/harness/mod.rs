//! What the tests stand on: servers, SQL sessions, `flowd` processes, events read back, random changes.

mod churn;
mod dml;
mod events;
mod flowd;
mod http;
#[cfg(feature = "kafka")]
mod kafka;
mod mesh;
mod messages;
mod metrics;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "rabbitmq")]
mod rabbitmq;
mod replica;
mod server;
mod session;
mod sink;
mod sql;
mod wait;

pub use churn::{Churn, SCHEMA, SHAPES};
pub use dml::Dml;
pub use events::{Event, Events};
pub use flowd::{Flowd, Job, Outcome};
pub use http::{HttpClient, HttpServer, Taken, binary, structured};
#[cfg(feature = "kafka")]
pub use kafka::{Consumed, Kafka, Producer, Reader};
pub use mesh::{Mesh, publish};
pub use metrics::Metrics;
#[cfg(feature = "postgres")]
pub use postgres::{Postgres, Psql, VERSIONS};
#[cfg(feature = "rabbitmq")]
pub use rabbitmq::{RabbitClient, RabbitMq};
pub use replica::{Arrival, Replica};
pub use server::{ALL, Kind, Server};
pub use sink::{Counted, Flow};
pub use sql::Sql;
pub use wait::{free_port, until};
