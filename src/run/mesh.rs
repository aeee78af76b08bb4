//! Where EventMesh is for a run: elsewhere, or in this process.

use std::path::{Path, PathBuf};

use flowd_mesh::MeshConfig;

use crate::config::{MeshAddress, Outward, PubSub, Target};
use crate::exit::Ending;
use crate::mesh::{Server, ServerConfig};

/// Where `meshAddress: embedded` listens.
const EMBEDDED_ADDRESS: &str = "127.0.0.1:10000";

/// How to reach EventMesh and as whom; the rest is left as it is without a word about it.
pub(super) fn connection(pub_sub: &PubSub, addresses: Vec<String>) -> MeshConfig {
    MeshConfig {
        addresses,
        idc: pub_sub.idc.clone(),
        env: pub_sub.env.clone(),
        group: pub_sub.group.clone(),
        app_id: pub_sub.app_id.clone(),
        user_name: pub_sub.user_name.clone(),
        password: pub_sub.pass_word.expose().to_owned(),
        ..MeshConfig::default()
    }
}

/// The servers of a source's target.
pub(super) enum Mesh {
    Elsewhere(Vec<String>),
    Here(Server),
}

impl Mesh {
    /// Starts the server of this process, where it is wanted and the target needs one.
    pub(super) fn of(outward: &Outward) -> Result<Self, Ending> {
        let needed = outward.publishing.target == Target::Mesh;
        match &outward.mesh_address {
            MeshAddress::Servers(addresses) => Ok(Self::Elsewhere(addresses.clone())),
            MeshAddress::Embedded if !needed => Ok(Self::Elsewhere(Vec::new())),
            MeshAddress::Embedded => {
                let directory = beside(&outward.offset_storage.offset_storage_addr);
                let server = Server::start(ServerConfig::new(EMBEDDED_ADDRESS, Some(directory)));
                let failed = |error| Ending::Unusable(format!("pubSubConfig.meshAddress: embedded: {error}"));
                server.map(Self::Here).map_err(failed)
            }
        }
    }

    pub(super) fn addresses(&self) -> Vec<String> {
        match self {
            Self::Elsewhere(addresses) => addresses.clone(),
            Self::Here(server) => vec![server.address().to_string()],
        }
    }

    pub(super) fn end(self) {
        if let Self::Here(server) = self
            && let Err(error) = server.shutdown()
        {
            tracing::error!("the embedded mesh: {error}");
        }
    }
}

/// `state` → `state.mesh`: the embedded server's directory beside the registry's.
fn beside(registry: &Path) -> PathBuf {
    let mut name = registry.file_name().unwrap_or_default().to_owned();
    name.push(".mesh");
    registry.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_mesh_lives_beside_the_registry_not_in_it() {
        assert_eq!(beside(Path::new("/var/lib/flowd/state")), Path::new("/var/lib/flowd/state.mesh"));
    }
}
