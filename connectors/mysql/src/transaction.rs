//! The transaction that a row belongs to: its identity, from which event ids are made, and what the events say of it.

use std::fmt;
use std::sync::Arc;

use flowd_binlog::gtid::{MariaGtid, Uuid};

use crate::position::Gtids;

/// Names a transaction for ever, within one history of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TransactionId {
    /// MySQL's `uuid:number`.
    MySql(Uuid, u64),
    /// MySQL's `uuid:tag:number`.
    Tagged(Uuid, Arc<str>, u64),
    /// MariaDB's `domain-server-seq`.
    MariaDb(MariaGtid),
    /// Without GTIDs: the server, the file and the offset where the transaction begins.
    Place {
        /// The server's UUID.
        server: Arc<str>,
        /// Binlog file.
        file: Arc<str>,
        /// Offset of the transaction's first event.
        offset: u64,
    },
}

impl TransactionId {
    /// Whether it is a GTID, which `source.gtid` shows.
    pub fn is_gtid(&self) -> bool {
        !matches!(self, Self::Place { .. })
    }

    /// Counts it among the transactions that are behind us; nothing where it has no GTID of the set's kind.
    pub fn add_to(&self, gtids: &mut Gtids) {
        match (gtids, self) {
            (Gtids::MySql(set), Self::MySql(uuid, number)) => set.add(*uuid, "", *number),
            (Gtids::MySql(set), Self::Tagged(uuid, tag, number)) => set.add(*uuid, tag, *number),
            (Gtids::MariaDb(list), Self::MariaDb(gtid)) => list.set(*gtid),
            _ => {}
        }
    }

    /// Appends the printed form: ASCII that needs no JSON escaping.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::MySql(uuid, number) => {
                write_uuid(out, uuid);
                out.push(b':');
                flowd_codec::json::write_u64(out, *number);
            }
            Self::Tagged(uuid, tag, number) => {
                write_uuid(out, uuid);
                out.push(b':');
                out.extend_from_slice(tag.as_bytes());
                out.push(b':');
                flowd_codec::json::write_u64(out, *number);
            }
            Self::MariaDb(gtid) => {
                flowd_codec::json::write_u64(out, gtid.domain.into());
                out.push(b'-');
                flowd_codec::json::write_u64(out, gtid.server.into());
                out.push(b'-');
                flowd_codec::json::write_u64(out, gtid.seq);
            }
            Self::Place { server, file, offset } => {
                out.extend_from_slice(server.as_bytes());
                out.push(b':');
                out.extend_from_slice(file.as_bytes());
                out.push(b':');
                flowd_codec::json::write_u64(out, *offset);
            }
        }
    }
}

impl fmt::Display for TransactionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Vec::new();
        self.write(&mut text);
        formatter.write_str(&String::from_utf8_lossy(&text))
    }
}

fn write_uuid(out: &mut Vec<u8>, uuid: &Uuid) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    for (index, byte) in uuid.0.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            out.push(b'-');
        }
        out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_print_as_the_servers_do() {
        let text = "7c8a0b8e-e766-11f1-8ec1-02fc00000001";
        let uuid: Uuid = text.parse().expect("uuid");
        assert_eq!(TransactionId::MySql(uuid, 79).to_string(), format!("{text}:79"));
        assert_eq!(TransactionId::Tagged(uuid, "t".into(), 79).to_string(), format!("{text}:t:79"));
        assert_eq!(TransactionId::MariaDb("0-4712-22".parse().expect("gtid")).to_string(), "0-4712-22");
        let place = TransactionId::Place { server: text.into(), file: "binlog.000001".into(), offset: 157 };
        assert_eq!(place.to_string(), format!("{text}:binlog.000001:157"));
    }
}
