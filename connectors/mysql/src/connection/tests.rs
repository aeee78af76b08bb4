//! Tests against a scripted server: what it says is bytes, so that it can say what no real server would.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::thread::{self, JoinHandle};

use flowd_tls::client::TlsMode;

use super::*;
use crate::statement::RowBounds;

/// A server that speaks the turns in order, reading one packet before each but the first, then closes. Returns what
/// the client sent.
fn scripted(turns: Vec<Vec<u8>>) -> (SocketAddr, JoinHandle<Vec<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    let server = thread::spawn(move || {
        let (mut socket, _) = listener.accept().expect("a client");
        let mut heard = Vec::new();
        for (index, turn) in turns.iter().enumerate() {
            if index > 0 {
                let Some(packet) = one_packet(&mut socket) else { return heard };
                heard.push(packet);
            }
            if socket.write_all(turn).is_err() {
                return heard;
            }
        }
        heard
    });
    (address, server)
}

fn one_packet(socket: &mut TcpStream) -> Option<Vec<u8>> {
    let mut header = [0; 4];
    socket.read_exact(&mut header).ok()?;
    let mut payload = vec![0; usize::from(header[0]) | usize::from(header[1]) << 8];
    socket.read_exact(&mut payload).ok()?;
    Some(payload)
}

fn packet(sequence: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).expect("a short packet");
    [&[length, 0, 0, sequence], payload].concat()
}

/// A greeting without TLS.
fn greeting(plugin: &str) -> Vec<u8> {
    let mut payload = b"\x0a9.9.9\0".to_vec();
    payload.extend_from_slice(&[7, 0, 0, 0]); // connection id
    payload.extend_from_slice(b"abcdefgh\0");
    payload.extend_from_slice(&[0x01, 0xa2, 45, 2, 0, 0x38, 0, 21]); // capabilities around collation and status
    payload.extend_from_slice(&[0; 10]);
    payload.extend_from_slice(b"ijklmnopqrst\0");
    payload.extend_from_slice(plugin.as_bytes());
    payload.push(0);
    packet(0, &payload)
}

const OK: &[u8] = &[0, 0, 0, 2, 0, 0, 0];

fn config(address: SocketAddr) -> MySqlConfig {
    let text = format!(
        r#"{{"connectorName":"x","hostname":"{}","port":{},"user":"cdc","password":"secret"}}"#,
        address.ip(),
        address.port()
    );
    serde_json::from_str(&text).expect("a possible configuration")
}

/// The failure of a connect, and what the server heard.
fn failure(turns: Vec<Vec<u8>>) -> (Failure, Vec<Vec<u8>>) {
    let (address, server) = scripted(turns);
    let failure = Connection::connect(&config(address)).expect_err("this server lets nobody in");
    (failure, server.join().expect("the script runs through"))
}

#[test]
fn a_login_is_answered_with_our_name_and_without_the_password() {
    let (address, server) = scripted(vec![greeting("caching_sha2_password"), packet(2, OK)]);
    let connection = Connection::open(&config(address)).expect("logged in");
    assert_eq!(connection.server().description(), "MySQL 9.9.9");
    let heard = server.join().expect("the script runs through");
    let heard = String::from_utf8_lossy(&heard[0]);
    assert!(heard.contains("cdc\0") && heard.contains("program_name\u{5}flowd"), "{heard:?}");
    assert!(!heard.contains("secret"));
}

#[test]
fn a_server_that_goes_away_during_login_is_tried_again() {
    let whole = greeting("caching_sha2_password");
    for end in 0..whole.len() {
        let (failure, _) = failure(vec![whole[..end].to_vec()]);
        assert!(matches!(failure, Failure::Retry(_)), "cut at {end}: {failure}");
    }
    let (failure, _) = failure(vec![whole, Vec::new()]);
    assert!(matches!(failure, Failure::Retry(_)), "{failure}");
}

#[test]
fn a_greeting_cut_inside_its_packet_is_refused_without_panic() {
    let whole = greeting("caching_sha2_password");
    for end in 5..whole.len() - 23 {
        let (failure, _) = failure(vec![packet(0, &whole[4..end])]);
        assert!(matches!(failure, Failure::Unusable(_)), "cut at {end}: {failure}");
    }
}

#[test]
fn something_that_is_no_mysql_server_is_unusable() {
    let (failure, _) = failure(vec![packet(0, b"SSH-2.0-OpenSSH_9.2 and a good deal more of text")]);
    assert!(failure.message().contains("a greeting that is not MySQL's"), "{failure}");
    let mut long_nonce = greeting("caching_sha2_password");
    long_nonce[4 + 7 + 20] = 0x80;
    let (failure, _) = self::failure(vec![long_nonce]);
    assert!(matches!(failure, Failure::Unusable(_)), "{failure}");
}

#[test]
fn too_many_connections_before_the_greeting_are_tried_again() {
    let (failure, _) = failure(vec![packet(0, b"\xff\x10\x04Too many connections")]);
    assert!(matches!(&failure, Failure::Retry(text) if text.contains("1040")), "{failure}");
}

#[test]
fn a_server_that_asks_for_the_clear_password_does_not_get_it() {
    for plugin in ["mysql_clear_password", "dialog", "mysql_old_password"] {
        let switch = [b"\xfe", plugin.as_bytes(), b"\0nonce"].concat();
        let (failure, heard) =
            failure(vec![greeting("caching_sha2_password"), packet(2, &switch), Vec::new()]);
        assert!(matches!(&failure, Failure::Unusable(text) if text.contains(plugin)), "{failure}");
        assert!(!heard.iter().any(|packet| packet.windows(6).any(|window| window == b"secret")));
    }
}

#[test]
fn a_forged_public_key_is_refused_without_panic() {
    for key in ["", "nonsense", "-----BEGIN PUBLIC KEY-----\nMAA=\n-----END PUBLIC KEY-----\n"] {
        let answer = [b"\x01", key.as_bytes()].concat();
        let turns = vec![greeting("caching_sha2_password"), packet(2, &[1, 4]), packet(4, &answer)];
        let (failure, heard) = failure(turns);
        assert!(matches!(failure, Failure::Unusable(_)), "{failure}");
        assert_eq!(heard[1], [2], "the key was asked for");
    }
}

#[test]
fn endless_authentication_ends() {
    let again =
        (0..20).map(|turn: u8| packet(2 + 2 * turn, b"\xfemysql_native_password\0abcdefghijklmnopqrst\0"));
    let (failure, _) = failure([greeting("mysql_native_password")].into_iter().chain(again).collect());
    assert!(failure.message().contains("turns of authentication"), "{failure}");
}

#[test]
fn tls_that_is_demanded_and_not_offered_is_unusable_before_the_password_is_sent() {
    let (address, server) = scripted(vec![greeting("caching_sha2_password"), Vec::new()]);
    let mut config = config(address);
    config.tls.mode = TlsMode::Required;
    let failure = Connection::connect(&config).expect_err("no TLS");
    assert!(matches!(&failure, Failure::Unusable(text) if text.contains("offers no TLS")), "{failure}");
    assert_eq!(server.join().expect("the script runs through"), Vec::<Vec<u8>>::new());
}

#[test]
fn another_thread_ends_a_read_that_waits() {
    let (address, _server) = scripted(vec![greeting("mysql_native_password"), packet(2, OK), Vec::new()]);
    let mut connection = Connection::open(&config(address)).expect("logged in");
    let handle = connection.shutdown_handle().expect("a handle");
    let stopper = thread::spawn(move || handle.shutdown());
    assert!(connection.read_packet().expect_err("ended").heals());
    stopper.join().expect("no panic");
}

#[test]
fn the_stream_is_given_up_with_what_was_read_ahead() {
    let first = [packet(2, OK), b"more".to_vec()].concat();
    let (address, _server) = scripted(vec![greeting("mysql_native_password"), first]);
    let connection = Connection::open(&config(address)).expect("logged in");
    let (mut stream, mut bytes) = connection.into_stream();
    stream.read_to_end(&mut bytes).expect("the server closes");
    assert_eq!(bytes, b"more");
}

/// A session in which one prepared statement of one column runs and gives `rows`, then another query is answered.
fn with_rows(rows: &[&[u8]]) -> (Connection, JoinHandle<Vec<Vec<u8>>>) {
    const END: &[u8] = &[0xfe, 0, 0, 2, 0];
    let number = |payloads: &[&[u8]]| -> Vec<u8> {
        payloads.iter().zip(1..).flat_map(|(payload, sequence)| packet(sequence, payload)).collect()
    };
    let prepared = number(&[&[0, 9, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0], b"column", END]);
    let result = number(&[&[&[1], &b"column"[..], END], rows].concat());
    let turns = vec![greeting("mysql_native_password"), packet(2, OK), prepared, result, packet(1, OK)];
    let (address, server) = scripted(turns);
    (Connection::open(&config(address)).expect("logged in"), server)
}

#[test]
fn a_connection_goes_on_after_rows_that_were_read_to_their_end_or_ended_by_an_error() {
    let end: &[u8] = &[0xfe, 0, 0, 2, 0];
    let error: &[u8] = b"\xff\x25\x05#70100Query execution was interrupted";
    for last in [end, error] {
        let (mut connection, _server) = with_rows(&[&[0, 0, 1], last]);
        let statement = connection.prepare("SELECT 1").expect("prepared");
        let mut reader = connection.execute_statement(&statement, &[]).expect("rows");
        let mut out = Vec::new();
        let one = reader.read(&mut out, 7, RowBounds::upto(100)).expect("a row");
        assert_eq!((one.rows, one.ended, &out[..]), (1, false, &[3, 0, 0, 0, 0, 0, 1][..]));
        let ended = reader.read(&mut out, 1000, RowBounds::upto(100));
        assert_eq!(ended.is_ok(), last == end, "{ended:?}");
        let again = reader.read(&mut out, 1000, RowBounds::upto(100));
        assert_eq!(again.is_ok(), last == end, "what comes after an error is no end: {again:?}");
        connection.query("SELECT 2").expect("the connection is in step");
    }
}

#[test]
fn a_connection_whose_rows_were_abandoned_takes_no_command() {
    let (mut connection, server) = with_rows(&[&[0, 0, 1], &[0xfe, 0, 0, 2, 0]]);
    let statement = connection.prepare("SELECT 1").expect("prepared");
    let mut reader = connection.execute_statement(&statement, &[]).expect("rows");
    reader.read(&mut Vec::new(), 7, RowBounds::upto(100)).expect("a row");
    let refused = [
        connection.query("SELECT 2").map(drop),
        connection.prepare("SELECT 2").map(drop),
        connection.execute_statement(&statement, &[]).map(drop),
        connection.send_command(&[1]),
        connection.close_statement(statement),
    ];
    for result in refused {
        let error = result.expect_err("out of step");
        assert!(error.heals() && error.to_string().contains("not read to its end"), "{error}");
    }
    connection.close();
    let heard = server.join().expect("the script runs through");
    assert_eq!(heard.len(), 3, "login, prepare, execute and nothing else: {heard:?}");
}
