//! How a sink starts: one of a name, an EventMesh file as it is, and what is wrong said at once.

use super::{sink, stop};
use crate::harness::{Flow, Flowd, Job, Kind, Mesh, Server, until};
use crate::suite::on;

fn flow(server: &Server) -> Flow<'_> {
    server.run("CREATE DATABASE test; CREATE TABLE test.t (id INT PRIMARY KEY, s VARCHAR(20)); INSERT INTO test.t VALUES (1, 'one')");
    Flow::beside(server, Mesh::start(), &["t"])
}

#[test]
fn a_second_sink_of_the_same_name_is_refused_until_the_first_is_gone() {
    on(&super::BOTH, &[], |server| {
        let flow = flow(server);
        let mut first = sink(&flow);
        flow.settle(&mut first);
        // Elsewhere, with a configuration of its own, and the same target.
        let second = Job::into_database(&flow.mesh.address(), "test.t", server, "test_copy")
            .set("pipeline.startMs", "0");
        second.start(&[]).wait().expect_code(3).expect_log("copy");
        assert!(first.is_running(), "the first one is not disturbed");
        first.kill();
        let second = second.set("pipeline.startMs", "30000");
        let mut third = second.start(&[]);
        server.run("INSERT INTO test.t VALUES (2, 'two')");
        flow.settle(&mut third);
        stop(third);
    });
}

#[test]
fn a_sink_of_another_name_beside_it_is_not_refused() {
    on(&[Kind::MariaDb11], &[], |server| {
        let flow = flow(server);
        server.run("CREATE DATABASE test_other; CREATE TABLE test_other.t LIKE test.t");
        let job = Job::into_database(&flow.mesh.address(), "test.t", server, "test_other")
            .set("connectorConfig.connectorName", "other");
        let (mut one, other) = (sink(&flow), job.start(&[]));
        // What all groups have read is dropped: both must be there before it comes.
        for part in [&one, &other] {
            until("both to listen", || part.log().contains("listening").then_some(()));
        }
        flow.settle(&mut one);
        until("the other copy", || (server.run("SELECT s FROM test_other.t") == [["one"]]).then_some(()));
        stop(one);
        stop(other);
    });
}

#[test]
fn a_sink_config_of_eventmesh_is_read_as_it_is() {
    on(&[Kind::MariaDb11], &[], |server| {
        let flow = flow(server);
        flow.source.catch_up();
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("sink-config.yml");
        let (mesh, port) = (flow.mesh.address(), server.port);
        let text = format!(
            "pubSubConfig:\n  meshAddress: {mesh}\n  subject: test.t\n  idc: FT\n  env: PRD\n  group: jdbcSink\n  appId: 5034\n  \
             userName: sinkUser\n  passWord: sinkPassWord\nsupportUpsert: true\nsupportDelete: true\nsinkConnectorConfig:\n  \
             connectorName: \"EventMesh-sink\"\n  jdbcConfig:\n    hostname: 127.0.0.1\n    port: {port}\n    user: app\n    \
             password: app\n    url: \"jdbc:mysql://127.0.0.1:{port}/test_copy\"\n"
        );
        std::fs::write(&file, text).unwrap();
        let config = file.display().to_string();
        let mut copying =
            Flowd::launch(directory.path(), &["--connector", "mysql-sink", "--config", &config]);
        until("the copy", || {
            assert!(copying.is_running(), "the sink ended by itself: {}", copying.log());
            flow.differences().is_empty().then_some(())
        });
        stop(copying);
    });
}

#[test]
fn a_target_that_cannot_be_used_ends_the_start_with_code_3() {
    on(&[Kind::MariaDb11], &[], |server| {
        let mesh = Mesh::start();
        let job = |user: &str, database: &str| {
            Job::into_database(&mesh.address(), "test.t", server, database)
                .set("connectorConfig.user", user)
                .set("pipeline.startMs", "0")
        };
        job("nobody", "test_copy").start(&[]).wait().expect_code(3).expect_log("nobody");
        job("app", "test_absent").start(&[]).wait().expect_code(3).expect_log("test_absent");
    });
}

#[test]
fn a_signal_ends_a_sink_when_what_it_took_is_applied() {
    on(&[Kind::MariaDb11], &[], |server| {
        let flow = flow(server);
        let values: Vec<String> = (2..3000).map(|id| format!("({id}, 'row {id}')")).collect();
        server.run(&format!("INSERT INTO test.t VALUES {}", values.join(",")));
        flow.source.catch_up();
        let copying = sink(&flow);
        until("the first rows", || {
            (server.run("SELECT COUNT(*) FROM test_copy.t")[0][0] != "0").then_some(())
        });
        stop(copying);
        let mut again = sink(&flow);
        flow.settle(&mut again);
        stop(again);
    });
}

#[test]
fn a_name_in_applied_by_that_nobody_has_holds_the_checkpoint_and_is_logged() {
    on(&[Kind::MariaDb11], &[], |server| {
        let flow = flow(server).source(|job| {
            job.until_applied().set("pipeline.appliedBy", "[copy, nobody]").set("pipeline.drainMs", "200")
        });
        let mut copying = sink(&flow);
        let source = flow.source.start(&[]);
        until("the row in the copy", || {
            assert!(copying.is_running(), "the sink ended by itself: {}", copying.log());
            flow.differences().is_empty().then_some(())
        });
        until("a word about the name", || source.log().contains("nobody").then_some(()));
        let position = flow.source.position();
        assert_ne!(position["acked"]["gtid"], position["emitted"]["gtid"], "{position}");
        source.signal("TERM");
        source.wait().expect_code(5);
        stop(copying);
    });
}
