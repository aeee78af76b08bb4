//! Which server we speak with: its flavour and version, as its greeting says.

use flowd_binlog::table::Flavour;

use crate::error::WireError;

/// The two families, which differ in GTIDs, in statements and in events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavor {
    /// Oracle's MySQL, and what calls itself like it (Percona Server).
    MySql,
    /// MariaDB.
    MariaDb,
}

impl Flavor {
    /// As in the event's `source`: `mysql` or `mariadb`.
    pub fn name(self) -> &'static str {
        match self {
            Self::MySql => "mysql",
            Self::MariaDb => "mariadb",
        }
    }
}

impl From<Flavor> for Flavour {
    fn from(flavor: Flavor) -> Self {
        match flavor {
            Flavor::MySql => Self::MySql,
            Flavor::MariaDb => Self::MariaDb,
        }
    }
}

/// A server, as it greets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Its family.
    pub flavor: Flavor,
    /// Major, minor and patch.
    pub version: (u16, u16, u16),
    /// The version as it says it, for messages.
    pub version_text: String,
    /// Its number for our connection, as in SHOW PROCESSLIST.
    pub connection_id: u32,
}

impl Server {
    /// Reads the version text; MariaDB puts `5.5.5-` before its own for the sake of old replicas. `flavor` is what is
    /// known apart from the text.
    pub(crate) fn new(
        version_text: &str,
        flavor: Option<Flavor>,
        connection_id: u32,
    ) -> Result<Self, WireError> {
        let maria = flavor == Some(Flavor::MariaDb) || version_text.to_ascii_lowercase().contains("mariadb");
        let own =
            if maria { version_text.strip_prefix("5.5.5-").unwrap_or(version_text) } else { version_text };
        let version = parsed_version(own).ok_or_else(|| {
            WireError::Protocol(format!("a server version that is no version: {version_text:?}"))
        })?;
        let flavor = if maria { Flavor::MariaDb } else { Flavor::MySql };
        Ok(Self { flavor, version, version_text: version_text.to_owned(), connection_id })
    }

    /// Whether it is of MySQL's family, not MariaDB's.
    pub fn is_mysql(&self) -> bool {
        self.flavor == Flavor::MySql
    }

    /// `MySQL 9.7.4` or `MariaDB 11.8.9`, for messages.
    pub fn description(&self) -> String {
        let (major, minor, patch) = self.version;
        let family = match self.flavor {
            Flavor::MySql => "MySQL",
            Flavor::MariaDb => "MariaDB",
        };
        format!("{family} {major}.{minor}.{patch}")
    }
}

fn parsed_version(text: &str) -> Option<(u16, u16, u16)> {
    let mut parts = text.splitn(3, '.');
    let (major, minor, rest) = (parts.next()?, parts.next()?, parts.next()?);
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    Some((major.parse().ok()?, minor.parse().ok()?, rest[..digits].parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_and_flavors_are_read_from_real_greetings() {
        for (text, flavor, version) in [
            ("9.7.4-2", Flavor::MySql, (9, 7, 4)),
            ("8.0.36", Flavor::MySql, (8, 0, 36)),
            ("8.4.2-2-log", Flavor::MySql, (8, 4, 2)),
            ("5.5.5-10.11.19-MariaDB-deb12-log", Flavor::MariaDb, (10, 11, 19)),
            ("11.8.9-MariaDB-0+deb13u1-log", Flavor::MariaDb, (11, 8, 9)),
        ] {
            let server = Server::new(text, None, 1).expect(text);
            assert_eq!((server.flavor, server.version), (flavor, version), "{text}");
        }
        let renamed = Server::new("10.6.2-acme", Some(Flavor::MariaDb), 1).expect("a version");
        assert_eq!(renamed.description(), "MariaDB 10.6.2");
    }

    #[test]
    fn a_version_that_is_none_is_refused() {
        for text in ["", "8", "8.0", "a.b.c", "99999.1.1", "8.0."] {
            Server::new(text, None, 1).expect_err(text);
        }
    }
}
