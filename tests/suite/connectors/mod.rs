//! The connectors of messages, each on its real system: what all of them promise is in [`kit`], a file a connector says
//! what its system is and what it promises besides.

pub mod kit;

mod eventmesh;
mod file;
mod http;
#[cfg(feature = "kafka")]
mod kafka;
mod pages;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "rabbitmq")]
mod rabbitmq;
