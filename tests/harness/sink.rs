//! From database to database: the parts of a flow, each of which can be started and killed; tables held against one
//! another; and triggers that count what is done to a table, so that a change that is applied twice shows.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::wait::PATIENCE;
use super::{Events, Flowd, Job, Mesh, Server, Sql, until};

impl Job {
    /// A `mysql-sink` called `copy`, which reads `topics` of the mesh at `address` into the schema `database` of `server`.
    pub fn into_database(address: &str, topics: &str, server: &Server, database: &str) -> Self {
        Self::sink("mysql-sink", address, topics)
            .set("connectorConfig.hostname", "127.0.0.1")
            .set("connectorConfig.port", &server.port.to_string())
            .set("connectorConfig.user", "app")
            .set("connectorConfig.password", "app")
            .set("connectorConfig.database", database)
    }

    /// Any sink, called `copy`.
    pub fn sink(connector: &'static str, address: &str, topics: &str) -> Self {
        Self::empty(connector)
            .set("connectorConfig.connectorName", "copy")
            .set("pubSubConfig.meshAddress", address)
            .set("pubSubConfig.subject", topics)
    }

    /// As a source: an event counts once the sink called `copy` has applied it.
    pub fn until_applied(self) -> Self {
        self.set("pipeline.delivery", "applied").set("pipeline.appliedBy", "[copy]")
    }

    /// What cannot be taken is written down in `dead.jsonl`.
    pub fn with_dead_letters(self) -> Self {
        let letters = self.path("dead.jsonl").display().to_string();
        self.set("pipeline.onReject", "deadLetter").set("pipeline.deadLetterFile", &letters)
    }

    /// The lines of `dead.jsonl`, parsed.
    pub fn dead_letters(&self) -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(self.path("dead.jsonl")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).expect("a dead letter is JSON")).collect()
    }
}

/// A schema that is copied over a mesh into another schema, of the same server or of a second one.
pub struct Flow<'a> {
    pub from: &'a Server,
    pub to: &'a Server,
    pub schemas: (&'static str, &'static str),
    pub tables: Vec<&'static str>,
    pub mesh: Mesh,
    pub source: Job,
    pub sink: Job,
}

impl<'a> Flow<'a> {
    /// Makes the target's schema with empty tables like the source's; both are of one kind, as `LIKE` says.
    pub fn beside(server: &'a Server, mesh: Mesh, tables: &[&'static str]) -> Self {
        let mut sql = server.sql();
        sql.run("CREATE DATABASE test_copy");
        for table in tables {
            sql.run(&format!("CREATE TABLE test_copy.{table} LIKE test.{table}"));
        }
        Self::between((server, "test"), (server, "test_copy"), mesh, tables)
    }

    /// Whatever the target has already.
    pub fn between(
        (from, schema): (&'a Server, &'static str),
        (to, target): (&'a Server, &'static str),
        mesh: Mesh,
        tables: &[&'static str],
    ) -> Self {
        let topics: Vec<String> = tables.iter().map(|table| format!("{schema}.{table}")).collect();
        let included: Vec<String> = topics.iter().map(|topic| format!("\"{topic}\"")).collect();
        let source = Job::new(from)
            .publishing_to(&mesh)
            .set("pipeline.checkpointMs", "50")
            .set("connectorConfig.tableIncludeList", &format!("[{}]", included.join(",")));
        let sink = Job::into_database(&mesh.address(), &topics.join(","), to, target);
        Self { from, to, schemas: (schema, target), tables: tables.to_vec(), mesh, source, sink }
    }

    /// Changes the source's configuration.
    pub fn source(mut self, change: impl FnOnce(Job) -> Job) -> Self {
        self.source = change(self.source);
        self
    }

    /// Changes the sink's configuration.
    pub fn sink(mut self, change: impl FnOnce(Job) -> Job) -> Self {
        self.sink = change(self.sink);
        self
    }

    /// Both with delivery: applied.
    pub fn until_applied(self) -> Self {
        self.source(Job::until_applied)
    }

    /// Runs the source to the end of what there is, while the sink runs. With delivery: applied that is when the sink has
    /// it.
    pub fn catch_up(&self, sink: &mut Flowd) {
        let mut source = self.source.start(&["--stop-at", "end"]);
        until("the source to come to the end", || {
            must_run(sink);
            (!source.is_running()).then_some(())
        });
        source.wait().expect_code(0);
    }

    /// Publishes all that there is, and waits until the sink has it.
    pub fn settle(&self, sink: &mut Flowd) {
        self.catch_up(sink);
        let late = Instant::now() + PATIENCE;
        until("the tables to be equal", || {
            must_run(sink);
            let is_late = Instant::now() + Duration::from_secs(5) > late;
            let differences = self.differences();
            assert!(!is_late || differences.is_empty(), "{}\n{}", differences.join("\n"), sink.log());
            differences.is_empty().then_some(())
        });
    }

    /// Demands that all tables are equal now.
    pub fn verify(&self) {
        let differences = self.differences();
        assert!(differences.is_empty(), "{}", differences.join("\n"));
    }

    /// What is not equal, a line a table.
    pub fn differences(&self) -> Vec<String> {
        let (mut from, mut to) = (self.from.sql(), self.to.sql());
        let mut differ =
            |table| same_tables((&mut from, self.schemas.0), (&mut to, self.schemas.1), table).err();
        self.tables.iter().filter_map(|table| differ(table)).collect()
    }

    /// All changes up to now as a file has them, each once.
    pub fn reference(&self) -> Events {
        let included = self.source.yaml();
        let included = included.lines().find_map(|line| line.trim().strip_prefix("tableIncludeList: "));
        let file = Job::new(self.from).set("connectorConfig.tableIncludeList", included.expect("it is set"));
        file.catch_up();
        file.events()
    }
}

fn must_run(sink: &mut Flowd) {
    assert!(sink.is_running(), "the sink ended by itself; its log: {}", sink.log());
}

/// Says how the rows of a table differ between two schemas, whatever their order. For tables whose values are texts
/// and numbers.
fn same_tables(from: (&mut Sql, &str), to: (&mut Sql, &str), table: &str) -> Result<(), String> {
    let rows = |(sql, schema): (&mut Sql, &str)| {
        let mut rows = sql.run(&format!("SELECT * FROM {schema}.{table}"));
        rows.sort();
        rows
    };
    let (from, to) = (rows(from), rows(to));
    if from == to {
        return Ok(());
    }
    let without = |some: &[Vec<String>], others: &[Vec<String>]| -> Vec<String> {
        let missing = some.iter().filter(|row| others.binary_search(row).is_err());
        missing.take(3).map(|row| row.join("|").chars().take(200).collect()).collect()
    };
    Err(format!(
        "{table} has {} rows at the source and {} at the target; missing: {:?} …, foreign: {:?} …",
        from.len(),
        to.len(),
        without(&from, &to),
        without(&to, &from)
    ))
}

/// Triggers that count inserts, updates and deletes of a schema's tables.
pub struct Counted(&'static str);

impl Counted {
    /// Sets them up on tables that are there.
    pub fn new(sql: &mut Sql, schema: &'static str, tables: &[&str]) -> Self {
        sql.run(&format!(
            "CREATE TABLE {schema}.counted (tab VARCHAR(64), op CHAR(1), times BIGINT, PRIMARY KEY (tab, op))"
        ));
        for table in tables {
            for (op, event) in [("c", "INSERT"), ("u", "UPDATE"), ("d", "DELETE")] {
                sql.run(&format!(
                    "CREATE TRIGGER {schema}.{table}_{op} AFTER {event} ON {schema}.{table} FOR EACH ROW
                     INSERT INTO {schema}.counted VALUES ('{table}', '{op}', 1) ON DUPLICATE KEY UPDATE times = times + 1"
                ));
            }
        }
        Self(schema)
    }

    /// What they counted, by table and op.
    pub fn counts(&self, sql: &mut Sql) -> BTreeMap<(String, String), u64> {
        let rows = sql.run(&format!("SELECT tab, op, times FROM {}.counted", self.0));
        rows.into_iter().map(|row| ((row[0].clone(), row[1].clone()), row[2].parse().unwrap())).collect()
    }

    /// Demands that each of `events` was applied once.
    pub fn verify(&self, sql: &mut Sql, events: &Events) {
        let mut expected: BTreeMap<(String, String), u64> = BTreeMap::new();
        for event in events.first() {
            *expected.entry((event.table().to_owned(), event.op().to_owned())).or_default() += 1;
        }
        assert_eq!(self.counts(sql), expected, "changes that were applied, and changes that were made");
    }
}
