//! Asks the server for its binlog: session settings, registration as a replica, COM_BINLOG_DUMP or COM_BINLOG_DUMP_GTID.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use flowd_engine::failure::Failure;
use sha2::{Digest, Sha256};

use crate::check::Replica as Registered;
use crate::config::MySqlConfig;
use crate::connection::Connection;
use crate::error::WireError;
use crate::feed::Feed;
use crate::position::{BinlogPosition, Gtids};
use crate::query::literal;
use crate::server::Flavor;
use crate::tls;

/// The server says that it is alive after this long without an event.
pub const HEARTBEAT_EVERY: Duration = Duration::from_secs(3);

/// How long the end of a stream may take.
const END_WAIT: Duration = Duration::from_secs(1);

const COM_BINLOG_DUMP: u8 = 0x12;
const COM_REGISTER_SLAVE: u8 = 0x15;
const COM_BINLOG_DUMP_GTID: u8 = 0x1e;
/// Flag of COM_BINLOG_DUMP_GTID: the set counts, not the file.
const THROUGH_GTID: u16 = 4;

/// Who we are to the server: the same after every restart, so that the server knows its dead replica's successor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replica {
    /// Our server id.
    pub server_id: u32,
    /// Our replica UUID, made of the connector's name and its registry.
    pub uuid: String,
    /// The host name under which we are listed.
    pub host: String,
}

impl Replica {
    /// Derives the identity. `registry` tells two connectors of one name apart.
    pub fn new(config: &MySqlConfig, registry: &str) -> Self {
        let digest: [u8; 32] = Sha256::digest(format!("{}\0{registry}", config.connector_name)).into();
        let mut bytes: [u8; 16] = std::array::from_fn(|index| digest[index]);
        // Version 8: made by a scheme of our own (RFC 9562).
        bytes[6] = bytes[6] & 0x0f | 0x80;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        let uuid = flowd_binlog::gtid::Uuid(bytes).to_string();
        let host = format!("flowd-{}", &uuid[..8]);
        Self { server_id: config.server_id, uuid, host }
    }

    /// Whether a registered replica holds our id and is not an earlier process of ours.
    pub fn is_held_by(&self, other: &Registered) -> bool {
        let ours = if other.uuid.is_empty() { other.host == self.host } else { other.uuid == self.uuid };
        other.server_id == self.server_id && !ours
    }
}

/// A replication stream, and the number of its connection on the server.
#[derive(Debug)]
pub struct Dump {
    /// The events.
    pub feed: Feed<tls::Stream>,
    /// As in SHOW PROCESSLIST.
    pub connection_id: u32,
}

impl Dump {
    /// Ends the stream on both sides. The server would notice a closed connection with its next heartbeats only, and
    /// hold our replica id as taken until then. Waits for a second at most; what fails is left to the heartbeats.
    pub fn end(self, config: &MySqlConfig) {
        let (id, config) = (self.connection_id, config.clone());
        drop(self.feed);
        let (done, is_done) = mpsc::channel();
        let kill = move || {
            let killed = Connection::open(&config).and_then(|mut connection| {
                connection.execute(&format!("KILL {id}"))?;
                connection.close();
                Ok(())
            });
            if let Err(error) = killed {
                tracing::debug!(%error, "the server's side of the stream ends by itself");
            }
            let _ = done.send(());
        };
        if thread::Builder::new().name("flowd-goodbye".into()).spawn(kill).is_ok() {
            let _ = is_done.recv_timeout(END_WAIT);
        }
    }
}

/// Opens the replication stream at a position.
pub fn open(
    config: &MySqlConfig,
    replica: &Replica,
    position: &BinlogPosition,
    event_bytes_max: usize,
) -> Result<Dump, Failure> {
    let mut connection = Connection::connect(config)?;
    let flavor = connection.server().flavor;
    prepare(&mut connection, replica)?;
    match &position.gtids {
        Gtids::MySql(set) if !position.by_place => {
            let mut encoded = Vec::new();
            set.encode(&mut encoded);
            connection.send_command(&dump_gtid(replica.server_id, &encoded))?;
        }
        Gtids::MariaDb(list) => {
            connection.execute(&format!("SET @slave_connect_state={}", literal(&list.to_string())))?;
            connection.execute("SET @slave_gtid_strict_mode=0, @slave_gtid_ignore_duplicates=0")?;
            connection.send_command(&dump(replica.server_id, "", 4))?;
        }
        Gtids::None | Gtids::MySql(_) => {
            let offset = u32::try_from(position.offset).map_err(|_| beyond(position))?;
            connection.send_command(&dump(replica.server_id, &position.file, offset))?;
        }
    }
    tracing::info!(
        server = connection.server().description(),
        flavor = flavor.name(),
        gtids = %position.gtids,
        place = position.place(),
        "streaming"
    );
    let connection_id = connection.server().connection_id;
    let (stream, already) = connection.into_stream();
    Ok(Dump { feed: Feed::new(stream, &already, 1, event_bytes_max), connection_id })
}

fn beyond(position: &BinlogPosition) -> Failure {
    Failure::Unusable(format!(
        "the position {} lies beyond 4 GiB, which the server cannot be asked for by file and offset; with gtid_mode=ON \
         positions have no such limit",
        position.place()
    ))
}

/// Session settings before the dump. Both names of each variable are set: servers read the one they know.
fn prepare(connection: &mut Connection, replica: &Replica) -> Result<(), WireError> {
    let nanoseconds = HEARTBEAT_EVERY.as_nanos();
    connection.execute("SET @master_binlog_checksum=@@global.binlog_checksum, @source_binlog_checksum=@@global.binlog_checksum")?;
    connection.execute(&format!(
        "SET @master_heartbeat_period={nanoseconds}, @source_heartbeat_period={nanoseconds}"
    ))?;
    let uuid = literal(&replica.uuid);
    connection.execute(&format!("SET @slave_uuid={uuid}, @replica_uuid={uuid}"))?;
    if connection.server().flavor == Flavor::MariaDb {
        connection.execute("SET @mariadb_slave_capability=4")?;
    }
    connection.send_command(&register(replica))?;
    match connection.read_packet()?.as_slice() {
        [0, ..] => Ok(()),
        other => Err(crate::query::server_error(other)),
    }
}

/// COM_REGISTER_SLAVE: lists us in SHOW REPLICAS.
fn register(replica: &Replica) -> Vec<u8> {
    let mut command = vec![COM_REGISTER_SLAVE];
    command.extend_from_slice(&replica.server_id.to_le_bytes());
    for text in [replica.host.as_str(), "", ""] {
        command.push(u8::try_from(text.len()).expect("a short name"));
        command.extend_from_slice(text.as_bytes());
    }
    command.extend_from_slice(&[0; 2 + 4 + 4]); // port, rank, master id
    command
}

fn dump(server_id: u32, file: &str, offset: u32) -> Vec<u8> {
    let mut command = vec![COM_BINLOG_DUMP];
    command.extend_from_slice(&offset.to_le_bytes());
    command.extend_from_slice(&[0; 2]);
    command.extend_from_slice(&server_id.to_le_bytes());
    command.extend_from_slice(file.as_bytes());
    command
}

fn dump_gtid(server_id: u32, set: &[u8]) -> Vec<u8> {
    let mut command = vec![COM_BINLOG_DUMP_GTID];
    command.extend_from_slice(&THROUGH_GTID.to_le_bytes());
    command.extend_from_slice(&server_id.to_le_bytes());
    command.extend_from_slice(&0_u32.to_le_bytes()); // no file name
    command.extend_from_slice(&4_u64.to_le_bytes());
    command.extend_from_slice(&u32::try_from(set.len()).expect("a set below 4 GiB").to_le_bytes());
    command.extend_from_slice(set);
    command
}
