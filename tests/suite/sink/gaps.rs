//! What is missing in a lane, with published delivery: waited for while its source is down, given up in the end, and
//! rejected where it comes after that.

use super::stop;
use crate::harness::{Flowd, Job, Kind, Mesh, Metrics, Server, publish, until};
use crate::suite::on;

/// The insertion of row `number`, which is the event of this number in its lane.
fn event(number: u64) -> String {
    format!(
        r#"{{"specversion":"1.0","id":"e{number}","source":"/flowd/mariadb/gone","type":"flowd.change.c","subject":"test.t","datacontenttype":"application/cloudevents+json","epoch":"1764028800000000","lane":"00","sequence":"{number:020}","data":{{"before":null,"after":{{"id":{number}}},"source":{{"db":"test","table":"t"}},"op":"c"}}}}"#
    )
}

/// A mesh to which a source publishes that goes away, and a sink behind it.
struct Copy<'a> {
    server: &'a Server,
    mesh: Mesh,
    job: Job,
}

impl<'a> Copy<'a> {
    fn new(server: &'a Server, gap_wait_ms: &str) -> Self {
        server.run("CREATE OR REPLACE DATABASE test; CREATE TABLE test.t (id BIGINT PRIMARY KEY)");
        let mesh = Mesh::start();
        let job = Job::into_database(&mesh.address(), "test.t", server, "test")
            .set("pipeline.gapWaitMs", gap_wait_ms);
        Self { server, mesh, job }
    }

    fn publish(&self, numbers: &[u64]) {
        publish(&self.mesh, &numbers.iter().copied().map(event).collect::<Vec<_>>());
    }

    fn rows(&self) -> String {
        self.server.run("SELECT GROUP_CONCAT(id ORDER BY id) FROM test.t")[0][0].clone()
    }

    fn has_rows(&self, expected: &str, sink: &mut Flowd) {
        until(&format!("rows {expected}"), || {
            assert!(sink.is_running(), "the sink ended by itself: {}", sink.log());
            (self.rows() == expected).then_some(())
        });
    }
}

#[test]
fn what_a_source_that_is_down_has_not_sent_is_waited_for() {
    on(&[Kind::MariaDb11], &[], |server| {
        // Its source is silent: thirty times as long.
        let copy = Copy::new(server, "10000");
        let metrics = Metrics::new();
        let mut sink = copy.job.start(&["--metrics", &metrics.address]);
        copy.publish(&[1, 3]);
        copy.has_rows("1", &mut sink);
        until("number 3 to wait", || metrics.value("flowd_sink_waiting").filter(|waiting| *waiting == 1.0));
        // The embedded mesh pushes it again after five seconds, which says nothing of its source.
        until("number 3 to come again", || {
            metrics.value("flowd_sink_duplicates_total").filter(|count| *count > 0.0)
        });
        assert_eq!(copy.rows(), "1");
        copy.publish(&[1, 2, 3, 4]);
        copy.has_rows("1,2,3,4", &mut sink);
        assert_eq!(metrics.value("flowd_sink_missing_total"), Some(0.0));
        stop(sink);
    });
}

#[test]
fn what_comes_after_it_was_given_up_stops_the_sink_or_is_a_dead_letter_and_is_never_taken_for_a_repeat() {
    on(&[Kind::MariaDb11], &[], |server| {
        let copy = Copy::new(server, "100");
        let mut sink = copy.job.start(&[]);
        copy.publish(&[1, 3, 5]);
        copy.has_rows("1,3,5", &mut sink);
        copy.publish(&[2]);
        sink.wait().expect_code(4).expect_log("it was given up").expect_log("gapWaitMs");
        // What was given up is known to the next process too.
        let sink = copy.job.start(&[]);
        sink.wait().expect_code(4).expect_log("it was given up");
        let job = copy.job.with_dead_letters();
        let sink = job.start(&[]);
        publish(&copy.mesh, &[event(4), event(5), event(6)]);
        until("two letters", || (job.dead_letters().len() == 2).then_some(()));
        let letters = job.dead_letters();
        assert_eq!([&letters[0]["id"], &letters[1]["id"]], ["e2", "e4"]);
        until("the rows", || {
            let rows = server.run("SELECT GROUP_CONCAT(id ORDER BY id) FROM test.t");
            (rows[0][0] == "1,3,5,6").then_some(())
        });
        stop(sink);
    });
}
