//! Getting at a server: how flowd proves who it is, whom it trusts, which rights it needs, and how long it tries.

pub mod certificates;
mod wire;

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use self::certificates::{Authority, Key, common_name, of_server};
use self::wire::{Wire, contains};
use super::{on, on_every_server};
use crate::harness::{Job, Kind, Outcome, Server, free_port};

const MARIADB: [Kind; 2] = [Kind::MariaDb10, Kind::MariaDb11];
const RIGHTS: &str = "REPLICATION SLAVE, REPLICATION CLIENT, SELECT";
/// Long enough to be found where it must not be.
const PASSWORD: &str = "correct-horse-battery";

/// An account with all rights; `identified` is the rest of CREATE USER.
fn create(server: &Server, user: &str, identified: &str) {
    server.run(&format!("CREATE USER '{user}'@'%' {identified}; GRANT {RIGHTS} ON *.* TO '{user}'@'%'"));
}

/// A job of that account.
fn job_of(server: &Server, user: &str, password: &str) -> Job {
    Job::new(server).set("connectorConfig.user", user).set("connectorConfig.password", password)
}

fn with_tls(job: Job, mode: &str) -> Job {
    job.set("connectorConfig.sslMode", mode)
}

fn with_ca(job: Job, mode: &str, file: &str) -> Job {
    with_tls(job, mode).set("connectorConfig.sslCa", file)
}

/// Both `flowd check` and a run get through.
fn let_in(job: &Job) {
    job.command(&["check"]).expect_code(0);
    job.catch_up();
}

/// Both `flowd check` and a run end with exit code 3, a run long before `startMs`, and say all of `said`.
fn turned_away(job: Job, said: &[&str]) -> Job {
    let job = job.set("pipeline.startMs", "55000");
    let expect = |outcome: &Outcome| {
        outcome.expect_code(3);
        for text in said {
            outcome.expect_log(text);
        }
    };
    expect(&job.command(&["check"]));
    let begin = Instant::now();
    expect(&job.start(&[]).wait());
    assert!(begin.elapsed() < Duration::from_secs(20), "it was retried for {:?}", begin.elapsed());
    job
}

// --- login ----------------------------------------------------------------------------------------------------------

#[test]
fn caching_sha2_over_plain_tcp_hides_the_password_in_rsa_and_then_takes_the_fast_path() {
    let server = Server::start(Kind::MySql9);
    create(&server, "sha", &format!("IDENTIFIED WITH caching_sha2_password BY '{PASSWORD}'"));
    server.run("FLUSH PRIVILEGES");
    let wire = Wire::before(&server);
    let job = with_tls(job_of(&server, "sha", PASSWORD), "disabled");
    let job = job.set("connectorConfig.port", &wire.port.to_string());
    let login = || {
        wire.forget();
        job.command(&["check"]).expect_code(0);
        assert!(wire.client_said("SHOW GRANTS"), "the connection was not plain");
        assert!(!wire.client_said(PASSWORD), "the password went over the network");
        wire.server_said("-----BEGIN PUBLIC KEY-----")
    };
    assert!(login(), "a server that knows the password's hash alone asks for the password under its key");
    assert!(!login(), "a server that remembers the password is content with the scramble");
    server.run("FLUSH PRIVILEGES");
    assert!(login(), "the server forgot it");
    job.catch_up();
}

#[test]
fn caching_sha2_over_tls_needs_no_key() {
    let server = Server::start(Kind::MySql9);
    create(&server, "sha", &format!("IDENTIFIED WITH caching_sha2_password BY '{PASSWORD}' REQUIRE SSL"));
    let wire = Wire::before(&server);
    for mode in ["required", "preferred"] {
        server.run("FLUSH PRIVILEGES");
        wire.forget();
        let job = with_tls(job_of(&server, "sha", PASSWORD), mode);
        let job = job.set("connectorConfig.port", &wire.port.to_string());
        let_in(&job);
        assert!(
            !wire.client_said("SHOW GRANTS") && !wire.client_said(PASSWORD),
            "{mode}: it was not encrypted"
        );
        assert!(!wire.client_said("sha\0"), "{mode}: the account's name went before TLS");
    }
    // Plain TCP: the server does not say why, so flowd says what may be so.
    turned_away(with_tls(job_of(&server, "sha", PASSWORD), "disabled"), &["1045", "whether it requires TLS"]);
}

#[test]
fn an_account_without_a_password_is_let_in() {
    on_every_server(|server| {
        create(server, "open", "IDENTIFIED BY ''");
        let job = job_of(server, "open", "x").unset("connectorConfig.password");
        let_in(&with_tls(job, "disabled"));
        if server.kind.is_mysql() {
            let_in(&with_tls(job_of(server, "open", "x").unset("connectorConfig.password"), "required"));
        }
    });
}

#[test]
fn a_wrong_password_ends_the_start_at_once_and_is_printed_nowhere() {
    on_every_server(|server| {
        let modes: &[&str] = if server.kind.is_mysql() { &["disabled", "required"] } else { &["disabled"] };
        for mode in modes {
            let job = with_tls(job_of(server, "cdc", PASSWORD), mode);
            let job = turned_away(job, &["cdc", "1045", "connectorConfig.user and password"]);
            keeps_the_secret(&job, 3);
        }
    });
}

#[test]
fn a_right_password_is_printed_nowhere_either() {
    on_every_server(|server| {
        create(server, "sha", &format!("IDENTIFIED BY '{PASSWORD}'"));
        keeps_the_secret(&with_tls(job_of(server, "sha", PASSWORD), "disabled"), 0);
    });
}

/// Runs with every log line there is, and looks for the password in them, in the answers and in what was stored.
fn keeps_the_secret(job: &Job, code: i32) {
    let config = job.path("flowd.yaml");
    fs::write(&config, job.yaml()).unwrap();
    let config = config.display().to_string();
    let commands: [&[&str]; 4] =
        [&["check"], &["--connector", "mysql-cdc", "--stop-at", "end"], &["position"], &["connectors"]];
    for command in commands {
        let mut program = Command::new(env!("CARGO_BIN_EXE_flowd"));
        program.args(command).env("FLOWD_LOG", "trace");
        if command != ["connectors"] {
            program.args(["--config", &config]);
        }
        let run = program.output().unwrap();
        let log = String::from_utf8_lossy(&run.stderr);
        if matches!(command[0], "check" | "--connector") {
            assert_eq!(run.status.code(), Some(code), "{command:?}: {log}");
        }
        assert!(!contains(&run.stderr, PASSWORD), "{command:?}: {log}");
        assert!(!contains(&run.stdout, PASSWORD), "{command:?}: {}", String::from_utf8_lossy(&run.stdout));
    }
    fs::remove_file(config).unwrap();
    // The test's own configuration is gone: the password is in no file that flowd wrote.
    nothing_holds(PASSWORD, job.path(".").as_path());
}

fn nothing_holds(secret: &str, directory: &Path) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            nothing_holds(secret, &path);
        } else {
            assert!(!contains(&fs::read(&path).unwrap(), secret), "the password is in {}", path.display());
        }
    }
}

#[test]
fn mysql_native_password_is_spoken_with_mariadb() {
    on(&MARIADB, &[], |server| {
        create(
            server,
            "native",
            &format!("IDENTIFIED VIA mysql_native_password USING PASSWORD('{PASSWORD}')"),
        );
        let wire = Wire::before(server);
        let job = with_tls(job_of(server, "native", PASSWORD), "disabled");
        let_in(&job.set("connectorConfig.port", &wire.port.to_string()));
        assert!(wire.client_said("mysql_native_password") && !wire.client_said(PASSWORD));
        turned_away(job_of(server, "native", "wrong"), &["native", "1045"]);
    });
}

// --- TLS ------------------------------------------------------------------------------------------------------------

#[test]
fn verify_ca_works_with_the_certificates_that_mysql_makes_for_itself() {
    let server = Server::start(Kind::MySql9);
    let ca = of_server(&server, "ca.pem");
    let wire = Wire::before(&server);
    let job =
        with_ca(Job::new(&server), "verify-ca", &ca).set("connectorConfig.port", &wire.port.to_string());
    let_in(&job);
    assert!(!wire.client_said("SHOW GRANTS"), "it was not encrypted");
    // The same certificate names no host.
    turned_away(with_ca(Job::new(&server), "verify-identity", &ca), &["SAN", "127.0.0.1", "verify-ca"]);
}

#[test]
fn verify_ca_refuses_a_certificate_of_another_authority() {
    let server = Server::start(Kind::MySql9);
    let stranger = Authority::new("somebody");
    turned_away(
        with_ca(Job::new(&server), "verify-ca", &stranger.path("ca.pem")),
        &["sslCa", &stranger.path("ca.pem")],
    );
    // Every MySQL server of a version calls its own authority the same.
    let name = common_name(&of_server(&server, "ca.pem"));
    for key in [Key::Rsa, Key::Curve] {
        let namesake = Authority::with_key(&name, key);
        let ca = namesake.path("ca.pem");
        turned_away(with_ca(Job::new(&server), "verify-ca", &ca), &["sslCa", &ca]);
        turned_away(with_ca(Job::new(&server), "verify-identity", &ca), &["sslCa", &ca]);
    }
    let job = with_ca(Job::new(&server), "verify-ca", "/nonexistent/ca.pem");
    let outcome = job.start(&[]).wait();
    outcome.expect_code(2).expect_log("sslCa").expect_log("/nonexistent/ca.pem").expect_log(" line ");
}

#[test]
fn verify_identity_trusts_the_alternative_name_alone() {
    let authority = Authority::new("authority of the test");
    authority.sign("db", "IP:127.0.0.1");
    let (ca, certificate, key) =
        (authority.path("ca.pem"), authority.path("db.pem"), authority.path("db-key.pem"));
    let options = [format!("--ssl-ca={ca}"), format!("--ssl-cert={certificate}"), format!("--ssl-key={key}")];
    on(&crate::harness::ALL, &options.each_ref().map(String::as_str), |server| {
        let wire = Wire::before(server);
        let job = with_ca(Job::new(server), "verify-identity", &ca)
            .set("connectorConfig.port", &wire.port.to_string());
        let_in(&job);
        assert!(!wire.client_said("SHOW GRANTS"), "it was not encrypted");
        let elsewhere =
            with_ca(Job::new(server), "verify-identity", &ca).set("connectorConfig.hostname", "localhost");
        turned_away(elsewhere, &["verify-identity", "localhost"]);
    });
}

#[test]
fn a_client_certificate_is_shown_where_the_account_demands_one() {
    let server = Server::start(Kind::MySql9);
    create(&server, "card", &format!("IDENTIFIED BY '{PASSWORD}' REQUIRE X509"));
    let job = || with_ca(job_of(&server, "card", PASSWORD), "verify-ca", &of_server(&server, "ca.pem"));
    let with_card = |certificate: &str| {
        let job = job().set("connectorConfig.sslCert", certificate);
        job.set("connectorConfig.sslKey", &of_server(&server, "client-key.pem"))
    };
    let_in(&with_card(&of_server(&server, "client-cert.pem")));
    turned_away(job(), &["card", "1045"]);
    let outcome = with_card("/nonexistent/card.pem").start(&[]).wait();
    outcome.expect_code(2).expect_log("sslCert").expect_log("/nonexistent/card.pem");
}

#[test]
fn demanded_tls_never_falls_back_to_plain_tcp() {
    let server = Server::start_with(Kind::MariaDb10, &["--skip-ssl"]);
    turned_away(with_tls(Job::new(&server), "required"), &["offers no TLS", "sslMode"]);
    let_in(&with_tls(Job::new(&server), "preferred"));
}

// --- rights and settings --------------------------------------------------------------------------------------------

/// The remedies that `flowd check` printed, without what stands behind the statement.
fn statements(check: &Outcome) -> Vec<String> {
    let lines = check.stdout.lines().filter_map(|line| line.trim().strip_prefix("mend: "));
    lines.map(|line| line.split(';').next().unwrap().to_owned()).collect()
}

#[test]
fn each_missing_right_is_named_with_the_grant_that_mends_it() {
    on_every_server(|server| {
        let monitor = if server.kind.is_mysql() { "REPLICATION CLIENT" } else { "BINLOG MONITOR" };
        server.run(&format!("CREATE USER 'poor'@'%' IDENTIFIED BY '{PASSWORD}'"));
        let job = job_of(server, "poor", PASSWORD).set("pipeline.startMs", "55000");
        for missing in ["REPLICATION SLAVE", monitor, "SELECT"] {
            let grant = format!("GRANT {missing} ON *.* TO 'poor'@'%'");
            server.run(&format!(
                "GRANT {RIGHTS} ON *.* TO 'poor'@'%'; REVOKE {missing} ON *.* FROM 'poor'@'%'"
            ));
            let lacks = format!("lacks {missing}");
            let check = job.command(&["check"]);
            check.expect_code(3);
            assert!(check.stdout.contains(&lacks), "{missing}: {}", check.stdout);
            assert!(statements(&check).contains(&grant), "{grant}: {}", check.stdout);
            assert_eq!(check.stdout.matches("problem:").count(), 1, "only one is missing: {}", check.stdout);
            job.start(&[]).wait().expect_code(3).expect_log(&lacks).expect_log(&grant);
        }
    });
}

#[test]
fn the_statements_that_check_prints_are_enough() {
    on_every_server(|server| {
        server.run(&format!("CREATE DATABASE shop; CREATE USER 'poor'@'%' IDENTIFIED BY '{PASSWORD}'"));
        let job = job_of(server, "poor", PASSWORD).set("connectorConfig.tableIncludeList", "[\"shop.*\"]");
        let check = job.command(&["check"]);
        check.expect_code(3);
        let grants: Vec<_> =
            statements(&check).into_iter().filter(|text| text.starts_with("GRANT")).collect();
        assert!(grants.contains(&"GRANT SELECT ON `shop`.* TO 'poor'@'%'".to_owned()), "{}", check.stdout);
        grants.iter().for_each(|grant| drop(server.run(grant)));
        let_in(&job);
    });
}

#[test]
fn a_binlog_that_is_not_in_rows_is_told_with_the_line_that_mends_it() {
    on(&MARIADB, &[], |server| {
        let job = Job::new(server).set("pipeline.startMs", "55000");
        for format in ["MIXED", "STATEMENT"] {
            server.run(&format!("SET GLOBAL binlog_format = '{format}'"));
            let check = job.command(&["check"]);
            check.expect_code(3);
            assert!(check.stdout.contains(&format!("binlog_format is {format}")), "{}", check.stdout);
            assert!(check.stdout.contains("[mysqld] binlog_format = ROW"), "{}", check.stdout);
            job.start(&[]).wait().expect_code(3).expect_log("binlog_format = ROW");
            let mend = statements(&check).into_iter().find(|text| text.contains("binlog_format")).unwrap();
            server.run(&mend);
            job.command(&["check"]).expect_code(0);
        }
    });
}

#[test]
fn a_server_without_binlog_is_told_with_the_line_that_mends_it() {
    on(&MARIADB, &["--skip-log-bin"], |server| {
        let job = Job::new(server).set("pipeline.startMs", "55000");
        let check = job.command(&["check"]);
        check.expect_code(3);
        assert!(check.stdout.contains("log_bin is OFF"), "{}", check.stdout);
        assert!(check.stdout.contains("[mysqld] log_bin = binlog"), "{}", check.stdout);
        job.start(&[]).wait().expect_code(3).expect_log("log_bin = binlog");
    });
}

// --- reach ----------------------------------------------------------------------------------------------------------

fn job_at(port: u16, start_ms: u64) -> Job {
    Job::at(port).set("pipeline.startMs", &start_ms.to_string())
}

#[test]
fn a_port_where_nobody_listens_is_tried_for_start_ms() {
    let job = job_at(free_port(), 1500);
    let begin = Instant::now();
    let outcome = job.start(&[]).wait();
    outcome.expect_code(3).expect_log("startMs").expect_log("127.0.0.1");
    let took = begin.elapsed();
    assert!((1500..10_000).contains(&took.as_millis()), "it took {took:?}");
    assert!(outcome.log.matches("trying again").count() >= 2, "{}", outcome.log);
}

#[test]
fn start_ms_0_is_one_try() {
    // Hangs up on everybody: an outage that could heal.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let tries = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&tries);
    std::thread::spawn(move || {
        for _ in listener.incoming() {
            counted.fetch_add(1, Ordering::SeqCst);
        }
    });
    job_at(port, 0).start(&[]).wait().expect_code(3).expect_log(&port.to_string());
    assert_eq!(tries.load(Ordering::SeqCst), 1);
    job_at(port, 1000).start(&[]).wait().expect_code(3);
    assert!(tries.load(Ordering::SeqCst) >= 3, "with time left it tries again");
    let outcome = job_at(free_port(), 0).start(&[]).wait();
    outcome.expect_code(3);
    assert!(!outcome.log.contains("trying again"), "{}", outcome.log);
}
