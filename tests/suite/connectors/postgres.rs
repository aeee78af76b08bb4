//! The postgres-sink: from MySQL and MariaDB into a real PostgreSQL, each change once, each value exactly.

mod access;
mod copies;
mod plain;
mod records;
mod values;
mod writes;

use flowd_engine::setting::Settings;
use flowd_postgres::config::{PostgresConfig, SETTINGS};
use flowd_postgres::store::PostgresStore;

use crate::harness::{Postgres, Psql, VERSIONS};
use crate::suite::sink_writes::Target;

/// Runs a check on every version, side by side, and names the one that failed.
fn on_every_version(check: impl Fn(&mut Postgres) + Sync) {
    std::thread::scope(|scope| {
        // The server is started and dropped by the thread that uses it: it ends with its parent thread.
        let run = |version| {
            let check = &check;
            scope.spawn(move || check(&mut Postgres::start_with(version, &[])))
        };
        let threads: Vec<_> = VERSIONS.map(|version| (version, run(version))).into_iter().collect();
        for (version, thread) in threads {
            assert!(thread.join().is_ok(), "failed on {version}; the reason is above");
        }
    });
}

/// The settings of a sink called `name`, with what `more` says.
fn config(server: &Postgres, name: &str, more: &[(&str, &str)]) -> PostgresConfig {
    let port = server.port.to_string();
    let own = [
        ("hostname", "127.0.0.1"),
        ("port", &port),
        ("user", "app"),
        ("password", "app"),
        ("database", "shop"),
    ];
    let settings = Settings::of(name, SETTINGS, &[&own, more].concat()).expect("possible settings");
    PostgresConfig::read(&settings).expect("possible settings")
}

/// A store that is open, of a sink called `copy`.
fn open(server: &Postgres) -> Target {
    open_with(server, &[])
}

fn open_with(server: &Postgres, more: &[(&str, &str)]) -> Target {
    Target::of(Box::new(PostgresStore::new(config(server, "copy", more))))
}

/// A session with an empty schema in which `sql` was run by the role that the sink has, too.
fn with(server: &Postgres, sql: &str) -> Psql {
    let mut session = server.sql();
    session.run(
        "RESET ROLE; SET client_min_messages = warning; DROP SCHEMA public CASCADE; \
         CREATE SCHEMA public AUTHORIZATION app; SET ROLE app; SET TimeZone = 'UTC'",
    );
    session.run(sql);
    session
}

fn rows(sql: &mut Psql) -> Vec<String> {
    sql.run("SELECT * FROM t ORDER BY 1, 2").into_iter().map(|row| row.join("|")).collect()
}
