//! Source, mesh and sink die in turn: nothing is lost, and nothing is applied twice.

use super::{BOTH, stop};
use crate::harness::{Counted, Dml, Flow, Flowd, Kind, Mesh, Metrics, Server, Sql, until};

/// What the embedded mesh is told to do wrong: one push in a hundred never leaves, and what is not acknowledged after
/// three seconds is forgotten, as by a Java server.
const FORGETFUL: [&str; 4] = ["--fault-drop-pushes", "100", "--fault-forget-after", "3000"];

#[test]
fn with_delivery_applied_a_mesh_that_drops_and_forgets_loses_nothing_while_all_parts_are_killed() {
    let servers = two(Kind::MariaDb11);
    let mut test = Test::new(&servers, &FORGETFUL, Flow::until_applied);
    for part in [Part::Source, Part::Mesh, Part::Sink, Part::Mesh, Part::Source, Part::Sink] {
        test.kill(part);
    }
    test.meet("flowd_resent_unapplied_total", |test| &test.source_metrics);
    test.stop_source();
    // What the source calls applied is applied: nobody waits for the sink here.
    test.flow.catch_up(test.sink.as_mut().expect("it runs"));
    test.flow.verify();
    test.verify_each_once();
}

#[test]
fn with_delivery_published_the_embedded_mesh_loses_nothing_while_all_parts_are_killed() {
    for kind in BOTH {
        let servers = two(kind);
        let mut test = Test::new(&servers, &[], |flow| flow);
        for part in Part::ALL {
            test.kill(part);
        }
        test.finish();
    }
}

/// Published is what it says: what such a mesh loses is lost, but not silently, and the rest is applied once, in order.
#[test]
fn with_delivery_published_what_a_forgetful_mesh_loses_is_counted_and_all_else_is_applied_once() {
    let servers = two(Kind::MariaDb11);
    let faults = ["--fault-drop-pushes", "60", "--fault-forget-after", "3000"];
    // Thirty times that at the end, when the source says no more.
    let mut test =
        Test::new(&servers, &faults, |flow| flow.sink(|job| job.set("pipeline.gapWaitMs", "1000")));
    for _ in 0..60 {
        test.write();
    }
    test.stop_source();
    test.flow.source.catch_up();
    let made = test.flow.reference().first().len() as f64;
    let sink = test.sink.as_ref().expect("it runs");
    let metrics = &test.sink_metrics;
    let value = |name: &str| metrics.value(name).unwrap_or(0.0);
    until(&format!("all of {made} to be applied or missed; {}", sink.log()), || {
        let settled = value("flowd_sink_applied_total") + value("flowd_sink_missing_total");
        // What is lost behind the last of a lane nobody can know of: at most one run of each lane.
        (settled >= made - 12.0 && value("flowd_sink_waiting") == 0.0).then_some(())
    });
    let (applied, missing) = (value("flowd_sink_applied_total"), value("flowd_sink_missing_total"));
    assert!(missing > 0.0 && applied + missing <= made, "{applied} applied, {missing} missing of {made}");
    assert!(sink.log().contains("did not come"), "no warning: {}", sink.log());
}

#[test]
fn reordered_pushes_are_applied_in_the_order_of_their_lanes() {
    let servers = two(Kind::MariaDb11);
    let mut test = Test::new(&servers, &["--fault-reorder-pushes", "10"], |flow| flow);
    for _ in 0..150 {
        test.write();
    }
    test.finish();
}

#[test]
fn a_snapshot_is_whole_in_the_copy_although_all_parts_were_killed_meanwhile() {
    let servers = two(Kind::MariaDb11);
    let mut test = Test::without_parts(&servers, &FORGETFUL, |flow| {
        flow.until_applied().source(|job| {
            job.unset("pipeline.startAt")
                .set("connectorConfig.snapshotMode", "initial")
                .set("connectorConfig.chunkBytes", "16KiB")
                .set("connectorConfig.snapshotRowsPerSecond", "300")
        })
    });
    for _ in 0..120 {
        test.write();
    }
    test.start();
    for part in Part::ALL {
        test.kill(part);
    }
    test.stop_source();
    test.flow.catch_up(test.sink.as_mut().expect("it runs"));
    test.flow.verify();
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Source,
    Mesh,
    Sink,
}

impl Part {
    const ALL: [Self; 3] = [Self::Source, Self::Mesh, Self::Sink];
}

fn two(kind: Kind) -> (Server, Server) {
    (Server::start(kind), Server::start(kind))
}

/// Random changes at one server, their copy in another, and the parts between them.
struct Test<'a> {
    flow: Flow<'a>,
    dml: Dml,
    sql: Sql,
    copy: Sql,
    counted: Counted,
    source: Option<Flowd>,
    sink: Option<Flowd>,
    source_metrics: Metrics,
    sink_metrics: Metrics,
}

impl<'a> Test<'a> {
    fn new(
        servers: &'a (Server, Server),
        faults: &[&str],
        change: impl FnOnce(Flow<'a>) -> Flow<'a>,
    ) -> Self {
        let mut test = Self::without_parts(servers, faults, change);
        test.start();
        test
    }

    fn without_parts(
        (from, to): &'a (Server, Server),
        faults: &[&str],
        change: impl FnOnce(Flow<'a>) -> Flow<'a>,
    ) -> Self {
        let (mut sql, mut copy) = (from.sql(), to.sql());
        let mut dml = Dml::new(&mut sql);
        let tables = Dml::tables(&mut copy);
        let counted = Counted::new(&mut copy, "test_dml", tables);
        let seed = dml.below(1 << 32).to_string();
        let mesh = Mesh::start_with(&[faults, &["--fault-seed", &seed]].concat());
        let flow = change(Flow::between((from, "test_dml"), (to, "test_dml"), mesh, tables));
        let (source_metrics, sink_metrics) = (Metrics::new(), Metrics::new());
        Self { flow, dml, sql, copy, counted, source: None, sink: None, source_metrics, sink_metrics }
    }

    fn start(&mut self) {
        self.start_source();
        self.start_sink();
    }

    fn start_source(&mut self) {
        self.source_metrics = Metrics::new();
        self.source = Some(self.flow.source.start(&["--metrics", &self.source_metrics.address]));
    }

    fn start_sink(&mut self) {
        self.sink_metrics = Metrics::new();
        self.sink = Some(self.flow.sink.start(&["--metrics", &self.sink_metrics.address]));
    }

    /// Makes changes until a part has counted one of these.
    fn meet(&mut self, name: &str, of: impl Fn(&Self) -> &Metrics) {
        until(name, || {
            self.write();
            self.must_run();
            of(self).value(name).filter(|count| *count > 0.0)
        });
    }

    fn write(&mut self) {
        self.dml.transaction(&mut self.sql, 8);
    }

    fn write_some(&mut self) {
        for _ in 0..=self.dml.below(12) {
            self.write();
        }
    }

    /// Kills a part while changes are on their way through it, and starts it again.
    fn kill(&mut self, part: Part) {
        let before = self.applied();
        until(&format!("changes to be applied before the {part:?} is killed"), || {
            self.write();
            self.must_run();
            (self.applied() > before + 40).then_some(())
        });
        self.write_some();
        match part {
            Part::Source => self.source.take().expect("it runs").kill(),
            Part::Mesh => self.flow.mesh.kill(),
            Part::Sink => self.sink.take().expect("it runs").kill(),
        }
        self.write_some();
        match part {
            Part::Source => self.start_source(),
            Part::Mesh => self.flow.mesh.restart(),
            Part::Sink => self.start_sink(),
        }
    }

    fn applied(&mut self) -> u64 {
        self.counted.counts(&mut self.copy).values().sum()
    }

    fn must_run(&mut self) {
        for part in [&mut self.source, &mut self.sink] {
            let part = part.as_mut().expect("it was started");
            assert!(part.is_running(), "a part ended by itself: {}", part.log());
        }
    }

    fn stop_source(&mut self) {
        stop(self.source.take().expect("it runs"));
    }

    /// Ends the source, waits for the sink, and demands that all is there, once.
    fn finish(mut self) {
        self.stop_source();
        self.flow.settle(self.sink.as_mut().expect("it runs"));
        self.verify_each_once();
    }

    fn verify_each_once(mut self) {
        let events = self.flow.reference();
        self.dml.verify(&events, &mut self.sql);
        self.counted.verify(&mut self.copy, &events);
        stop(self.sink.take().expect("it runs"));
    }
}
