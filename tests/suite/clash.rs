//! Replica ids: what another process holds is refused by name, what a killed process of ours left behind is ours.

use super::{on, on_every_server};
use crate::harness::{Flowd, Job, Kind, Server, until};

const MARIADB: [Kind; 2] = [Kind::MariaDb10, Kind::MariaDb11];
const ID: &str = "5400";

/// A job with its own registry and the shared id.
fn job(server: &Server, name: &str) -> Job {
    Job::new(server).set("connectorConfig.connectorName", name).set("connectorConfig.serverId", ID)
}

fn create_table(server: &Server) {
    server.run("CREATE DATABASE test; CREATE TABLE test.t (id INT PRIMARY KEY)");
}

/// Gives the account the right to see who else is registered; on MySQL it has it.
fn let_see_replicas(server: &Server) {
    if !server.kind.is_mysql() {
        server.run("GRANT REPLICATION MASTER ADMIN ON *.* TO 'cdc'@'%'");
    }
}

/// Starts the job and waits until the server sends it the binlog.
fn follow(server: &Server, job: &Job) -> Flowd {
    let flowd = job.start(&[]);
    until("flowd to follow the binlog", || (server.dump_threads() == 1).then_some(()));
    flowd
}

/// What the server knows of the holder of our id: on MySQL its UUID, on MariaDB its host.
fn registered(server: &Server) -> String {
    let statement = if server.kind.is_mysql() { "SHOW REPLICAS" } else { "SHOW SLAVE HOSTS" };
    let rows = server.run(statement);
    let rows: Vec<_> = rows.into_iter().filter(|row| row[0] == ID).collect();
    assert_eq!(rows.len(), 1, "{rows:?}");
    if server.kind.is_mysql() { rows[0].last().unwrap().clone() } else { rows[0][1].clone() }
}

/// Waits until this many different events arrived: what was not checkpointed before a kill comes again.
fn arrived(job: &Job, count: usize) {
    until(&format!("{count} events"), || (job.events().first_occurrences().len() == count).then_some(()));
}

#[test]
fn a_second_holder_of_the_id_is_refused_at_start_and_the_first_is_left_alone() {
    on_every_server(|server| {
        create_table(server);
        let_see_replicas(server);
        let one = job(server, "orders");
        let mut first = follow(server, &one);
        let holder = registered(server);
        // Another name, and the same name with another registry: neither is the holder's restart.
        for name in ["others", "orders"] {
            let two = job(server, name).set("pipeline.startMs", "55000");
            two.start(&[]).wait().expect_code(3).expect_log(ID).expect_log(&holder);
            let check = two.command(&["check"]);
            check.expect_code(3);
            assert!(check.stdout.contains(&holder) && check.stdout.contains(ID), "{}", check.stdout);
            assert!(check.stdout.contains("connectorConfig.serverId"), "{}", check.stdout);
        }
        server.run("INSERT INTO test.t VALUES (1)");
        one.wait_for_events(1);
        assert!(first.is_running() && !first.log().contains("connecting again"), "{}", first.log());
    });
}

#[test]
fn what_a_killed_flowd_left_on_the_server_is_no_clash() {
    on_every_server(|server| {
        create_table(server);
        let_see_replicas(server);
        let orders = job(server, "orders");
        let mut running = follow(server, &orders);
        for id in 1..=4 {
            server.run(&format!("INSERT INTO test.t VALUES ({id})"));
            arrived(&orders, id);
            running.kill();
            // An idle server has not noticed the death yet.
            registered(server);
            assert_eq!(server.dump_threads(), 1, "nothing was left behind");
            orders.command(&["check"]).expect_code(0);
            running = orders.start(&[]);
        }
        server.run("INSERT INTO test.t VALUES (5)");
        arrived(&orders, 5);
        assert!(running.is_running() && !running.log().contains("connecting again"), "{}", running.log());
        until("the server to have dropped what was left", || (server.dump_threads() == 1).then_some(()));
    });
}

#[test]
fn two_that_cannot_see_each_other_do_not_fight_for_ever() {
    on(&MARIADB, &[], |server| {
        create_table(server);
        let (one, two) = (job(server, "one"), job(server, "two"));
        let mut first = follow(server, &one);
        let mut second = two.start(&[]);
        until("one of them to give up", || (!first.is_running() || !second.is_running()).then_some(()));
        let (loser, mut other, job) =
            if first.is_running() { (second, first, &one) } else { (first, second, &two) };
        let outcome = loser.wait();
        outcome.expect_code(3).expect_log(&format!("server id {ID}")).expect_log("twice within a minute");
        outcome.expect_log("connectorConfig.serverId");
        // The other one may have been thrown off twice as well; if not, it now has the id for itself.
        server.run("INSERT INTO test.t VALUES (1)");
        until("the other to go on or to give up", || {
            (!other.is_running() || job.events().len() == 1).then_some(())
        });
        if !other.is_running() {
            other.wait().expect_code(3).expect_log(&format!("server id {ID}"));
        }
    });
}

#[test]
fn being_thrown_off_once_is_no_clash() {
    on(&MARIADB, &[], |server| {
        create_table(server);
        let orders = job(server, "orders");
        let mut first = follow(server, &orders);
        // A short-lived reader under our id. We stand still meanwhile, so that we cannot throw it off in turn.
        first.signal("STOP");
        job(server, "reader").catch_up();
        first.signal("CONT");
        server.run("INSERT INTO test.t VALUES (1)");
        orders.wait_for_events(1);
        assert!(first.is_running(), "{}", first.log());
        assert!(first.log().contains("with the same server_"), "{}", first.log());
    });
}

#[test]
fn the_servers_own_id_is_refused() {
    on_every_server(|server| {
        let own = Job::new(server).set("connectorConfig.serverId", "1").set("pipeline.startMs", "55000");
        own.start(&[]).wait().expect_code(3).expect_log("serverId 1 is the server's own");
        own.command(&["check"]).expect_code(3);
    });
}

#[test]
fn a_run_with_another_registry_begins_at_once_after_a_clean_end_and_soon_after_a_kill() {
    on_every_server(|server| {
        create_table(server);
        let_see_replicas(server);
        server.run("INSERT INTO test.t VALUES (1)");
        job(server, "orders").catch_up();
        let ended = job(server, "orders");
        let began = std::time::Instant::now();
        ended.catch_up();
        assert!(began.elapsed().as_secs() < 5, "the run that had ended was still in the way");

        let killed = follow(server, &job(server, "orders"));
        killed.kill();
        job(server, "orders").catch_up();
    });
}
