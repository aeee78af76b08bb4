//! Jobs of connectors that take messages from somewhere.

use super::{Job, Mesh};

impl Job {
    /// Any source of messages, called `messages`, which publishes to a topic of a mesh.
    pub fn source(connector: &'static str, mesh: &Mesh, topic: &str) -> Self {
        Self::empty(connector)
            .publishing_to(mesh)
            .set("pubSubConfig.subject", topic)
            .set("connectorConfig.connectorName", "messages")
            .set("offsetStorageConfig.offsetStorageAddr", "./state")
            .set("pipeline.checkpointMs", "50")
    }
}
