//! The embedded EventMesh-compatible server: enough of the server side for the Java SDK, flowd's writer and its tail.
//!
//! It is for first runs, tests and benchmarks; EventMesh is the broker for production. Consumer groups have their own
//! cursor in each topic, every event goes to one session of each group and again if it is not acknowledged, and with a
//! directory acknowledgements and cursors survive a crash. Not here: native messages, request and reply, several nodes.
//! What the Java server does to its clients besides can be asked for: its limits ([`JavaLimits`]), and for tests its
//! losses ([`FaultPlan`]).
//!
//! [`Server::start`] runs it in threads of its own; [`command`] is `flowd mesh`. From the socket inwards: `connection`
//! → `session` → `broker` (topics, groups) → `journal` and `commit`.

mod broker;
mod command;
mod commit;
mod connection;
mod faults;
mod group;
mod journal;
mod limits;
mod outbox;
mod piece;
mod publish;
mod record;
mod restore;
mod server;
mod session;
#[cfg(test)]
mod tests;
mod topic;
mod window;

pub use command::{MeshArguments, command};
pub use faults::FaultPlan;
pub use limits::JavaLimits;
pub use server::{ServeError, Server, ServerConfig, StartError};
