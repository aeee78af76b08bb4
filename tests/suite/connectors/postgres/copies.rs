//! From MySQL and MariaDB over a mesh into PostgreSQL: the tables are equal and each change is applied once, whatever dies
//! in between; and what `flowd check` and `flowd position` say meanwhile.

use std::collections::BTreeMap;

use super::with;
use crate::harness::{Dml, Events, Flowd, Job, Kind, Mesh, Postgres, Psql, Server, Sql, until};

/// A schema that is copied over a mesh into the schema `public` of PostgreSQL, each event until it is applied.
pub(super) struct Copy<'a> {
    from: &'a Server,
    schema: &'static str,
    mesh: Mesh,
    pub(super) source: Job,
    pub(super) sink: Job,
}

impl<'a> Copy<'a> {
    /// Whatever the target has already.
    pub(super) fn of(
        (from, schema): (&'a Server, &'static str),
        to: &Postgres,
        mesh: Mesh,
        tables: &[&'static str],
    ) -> Self {
        let topics: Vec<String> = tables.iter().map(|table| format!("{schema}.{table}")).collect();
        let source = Job::new(from)
            .publishing_to(&mesh)
            .until_applied()
            .set("pipeline.checkpointMs", "50")
            .set("connectorConfig.tableIncludeList", &included(&topics));
        let sink = to.configure(Job::sink("postgres-sink", &mesh.address(), &topics.join(",")));
        Self { from, schema, mesh, source, sink }
    }

    /// Changes the source's configuration.
    pub(super) fn source(mut self, change: impl FnOnce(Job) -> Job) -> Self {
        self.source = change(self.source);
        self
    }

    /// Changes the sink's configuration.
    pub(super) fn sink(mut self, change: impl FnOnce(Job) -> Job) -> Self {
        self.sink = change(self.sink);
        self
    }

    /// Runs the source to the end of what there is; that is when the sink has applied it.
    pub(super) fn catch_up(&self, sink: &mut Flowd) {
        let mut source = self.source.start(&["--stop-at", "end"]);
        until("the source to come to the end", || {
            assert!(sink.is_running(), "the sink ended by itself; its log: {}", sink.log());
            (!source.is_running()).then_some(())
        });
        source.wait().expect_code(0);
    }

    /// All changes up to now as a file has them, each once.
    fn reference(&self, tables: &[&str]) -> Events {
        let topics: Vec<String> = tables.iter().map(|table| format!("{}.{table}", self.schema)).collect();
        let file = Job::new(self.from).set("connectorConfig.tableIncludeList", &included(&topics));
        file.catch_up();
        file.events()
    }
}

fn included(topics: &[String]) -> String {
    let quoted: Vec<String> = topics.iter().map(|topic| format!("\"{topic}\"")).collect();
    format!("[{}]", quoted.join(","))
}

const TABLES: [&str; 3] = ["plain", "pair", "wide"];

/// The tables of [`Dml`], and triggers that count what is done to them.
fn counted(to: &Postgres) -> Psql {
    let mut sql = with(
        to,
        "CREATE TABLE plain (id int PRIMARY KEY, rev bigint NOT NULL, note varchar(200)); \
         CREATE TABLE pair (id int, half char(1) DEFAULT 'a', rev bigint NOT NULL, note varchar(200), PRIMARY KEY (half, id)); \
         CREATE TABLE wide (id int PRIMARY KEY, rev bigint NOT NULL, note text); \
         CREATE TABLE counted (tab text, op text, times bigint, PRIMARY KEY (tab, op)); \
         CREATE FUNCTION count_it() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         INSERT INTO counted AS c VALUES (TG_TABLE_NAME, TG_OP, 1) ON CONFLICT (tab, op) DO UPDATE SET times = c.times + 1; \
         RETURN NULL; END $$",
    );
    for table in TABLES {
        sql.run(&format!(
            "CREATE TRIGGER counted AFTER INSERT OR UPDATE OR DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION count_it()"
        ));
    }
    sql
}

/// What was counted, by table and op.
fn counts(sql: &mut Psql) -> BTreeMap<(String, String), u64> {
    let rows = sql.run("SELECT tab, left(op, 1), times FROM counted");
    let op = |name: &str| if name == "I" { "c".to_owned() } else { name.to_lowercase() };
    rows.into_iter().map(|row| ((row[0].clone(), op(&row[1])), row[2].parse().unwrap())).collect()
}

#[test]
fn each_change_is_applied_once_while_source_mesh_sink_and_target_are_killed_in_turn() {
    let (from, mut to) = (Server::start(Kind::MariaDb11), Postgres::start());
    let mut here = from.sql();
    let mut dml = Dml::new(&mut here);
    let mut there = counted(&to);
    // One push in a hundred never leaves, and what is not acknowledged after three seconds is forgotten.
    let seed = dml.below(1 << 32).to_string();
    let faults = ["--fault-drop-pushes", "100", "--fault-forget-after", "3000", "--fault-seed", &seed];
    let mut copy = Copy::of((&from, "test_dml"), &to, Mesh::start_with(&faults), &TABLES);
    let mut source = copy.source.start(&[]);
    let mut sink = copy.sink.start(&[]);
    for part in ["source", "mesh", "sink", "target", "mesh", "sink", "target", "source", "nothing"] {
        let before: u64 = counts(&mut there).values().sum();
        until(&format!("changes to be applied before the {part} is killed; sink: {}", sink.log()), || {
            dml.transaction(&mut here, 8);
            assert!(source.is_running(), "the source ended by itself: {}", source.log());
            assert!(sink.is_running(), "the sink ended by itself: {}", sink.log());
            (counts(&mut there).values().sum::<u64>() > before + 40).then_some(())
        });
        let mut write_some = || (0..6).for_each(|_| dml.transaction(&mut here, 8));
        write_some();
        match part {
            "source" => source.kill_and(|| copy.source.start(&[])),
            "sink" => sink.kill_and(|| copy.sink.start(&[])),
            "mesh" => {
                copy.mesh.kill();
                write_some();
                copy.mesh.restart();
            }
            "target" => {
                to.kill();
                write_some();
                to.restart();
                there = to.sql();
                there.run("SET ROLE app");
            }
            _ => {}
        }
    }
    // One that was only just started hears a signal once it says something.
    until("the source to be up", || (!source.log().is_empty()).then_some(()));
    source.signal("TERM");
    source.wait().expect_code(0);
    copy.catch_up(&mut sink);

    let events = copy.reference(&TABLES);
    dml.verify(&events, &mut here);
    let mut expected: BTreeMap<(String, String), u64> = BTreeMap::new();
    for event in events.first() {
        *expected.entry((event.table().to_owned(), event.op().to_owned())).or_default() += 1;
    }
    assert_eq!(counts(&mut there), expected, "changes that were applied, and changes that were made");
    same_tables(&mut here, &mut there);
    sink.signal("TERM");
    sink.wait().expect_code(0);
}

/// `kill -9`, and another in its place.
trait KillAnd {
    fn kill_and(&mut self, start: impl FnOnce() -> Flowd);
}

impl KillAnd for Flowd {
    fn kill_and(&mut self, start: impl FnOnce() -> Flowd) {
        self.signal("KILL");
        until("the part to be gone", || (!self.is_running()).then_some(()));
        *self = start();
    }
}

fn same_tables(here: &mut Sql, there: &mut Psql) {
    for (table, half) in TABLES.into_iter().zip(["'-'", "half", "'-'"]) {
        let columns = format!("id, {half}, rev");
        let mut ours = here.run(&format!(
            "SELECT {columns}, COALESCE(MD5(CONVERT(note USING utf8mb4)), 'NULL') FROM test_dml.{table}"
        ));
        let mut theirs = there.run(&format!("SELECT {columns}, md5(note) FROM {table}"));
        ours.sort();
        theirs.sort();
        assert!(ours == theirs, "{table} has {} rows here and {} there", ours.len(), theirs.len());
    }
}

#[test]
fn a_truncate_and_a_snapshot_are_carried_over() {
    let (from, to) = (Server::start(Kind::MySql9), Postgres::start());
    let mut here = from.sql();
    here.run("CREATE DATABASE test; CREATE TABLE test.t (id INT PRIMARY KEY, v VARCHAR(9))");
    here.run("INSERT INTO test.t VALUES (1, 'a'), (2, 'b')");
    let mut there = with(&to, "CREATE TABLE t (id int PRIMARY KEY, v text)");
    let copy = Copy::of((&from, "test"), &to, Mesh::start(), &["t"])
        .source(|job| job.unset("pipeline.startAt").set("connectorConfig.snapshotMode", "initial"));
    let mut sink = copy.sink.start(&[]);
    copy.catch_up(&mut sink);
    assert_eq!(super::rows(&mut there), ["1|a", "2|b"]);
    here.run("TRUNCATE test.t; INSERT INTO test.t VALUES (3, 'c')");
    copy.catch_up(&mut sink);
    assert_eq!(super::rows(&mut there), ["3|c"]);
    sink.signal("TERM");
    sink.wait().expect_code(0);
}

#[test]
fn check_and_position_answer_and_a_second_sink_is_refused() {
    let (from, to) = (Server::start(Kind::MariaDb11), Postgres::start());
    let mut here = from.sql();
    here.run("CREATE DATABASE test; CREATE TABLE test.t (id INT PRIMARY KEY)");
    let mut there = with(&to, "SELECT 1");
    let copy = Copy::of((&from, "test"), &to, Mesh::start(), &["t"]);
    let ask = |what| copy.sink.command(&[what, "--connector", "postgres-sink"]);
    let check = ask("check");
    assert!(check.stdout.contains("there is no table public.t"), "{check:?}");
    there.run("CREATE TABLE t (id int PRIMARY KEY)");
    let mut sink = copy.sink.start(&[]);
    here.run("INSERT INTO test.t VALUES (1)");
    copy.catch_up(&mut sink);
    let (check, position) = (ask("check"), ask("position"));
    check.expect_code(0);
    assert!(check.stdout.contains("a sink with the connectorName copy is running"), "{check:?}");
    position.expect_code(0);
    assert!(position.stdout.contains("test.t"), "{position:?}");
    copy.sink.start(&[]).wait().expect_code(3).expect_log("another sink with the connectorName copy");
    sink.signal("TERM");
    sink.wait().expect_code(0);
}

#[test]
fn what_cannot_be_taken_becomes_a_dead_letter_and_the_rest_goes_on() {
    let (from, to) = (Server::start(Kind::MariaDb11), Postgres::start());
    let mut here = from.sql();
    here.run("CREATE DATABASE test; CREATE TABLE test.t (id INT PRIMARY KEY, v VARCHAR(9))");
    let mut there = with(&to, "CREATE TABLE t (id int PRIMARY KEY, v varchar(3))");
    let copy = Copy::of((&from, "test"), &to, Mesh::start(), &["t"]).sink(Job::with_dead_letters);
    let mut sink = copy.sink.start(&[]);
    here.run("INSERT INTO test.t VALUES (1, 'a'), (2, 'long'), (3, 'c')");
    copy.catch_up(&mut sink);
    assert_eq!(super::rows(&mut there), ["1|a", "3|c"]);
    let letters = copy.sink.dead_letters();
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert!(letters[0].to_string().contains("has 4 characters; the column takes 3"), "{letters:?}");
    sink.signal("TERM");
    sink.wait().expect_code(0);
}
