//! TLS to the server, as `sslMode` says: what it promises to verify is verified.

use flowd_engine::failure::Failure;
use flowd_postgres::store::PostgresStore;
use flowd_sink::store::Store;

use super::config;
use crate::harness::{Postgres, VERSIONS};
use crate::suite::access::certificates::Authority;

/// A server with a certificate for a name, whose clients' certificates it asks for.
fn server_for(authority: &Authority, name: &str) -> Postgres {
    authority.sign("server", name);
    let file = |setting: &str, name: &str| format!("{setting}={}", authority.path(name));
    let (certificate, key, clients) = (
        file("ssl_cert_file", "server.pem"),
        file("ssl_key_file", "server-key.pem"),
        file("ssl_ca_file", "ca.pem"),
    );
    Postgres::start_with(VERSIONS[1], &["-c", "ssl=on", "-c", &certificate, "-c", &key, "-c", &clients])
}

fn opened(server: &Postgres, settings: &[(&str, &str)]) -> Result<PostgresStore, Failure> {
    let mut store = PostgresStore::new(config(server, "copy", settings));
    store.open().map(|_| store)
}

/// What the server says of the sink's connection.
fn seen(server: &Postgres) -> Vec<Vec<String>> {
    server.run(
        "SELECT ssl, coalesce(client_dn, '-') FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
         WHERE application_name = 'flowd copy'",
    )
}

#[test]
fn a_connection_is_as_safe_as_ssl_mode_says() {
    let (authority, other) = (Authority::new("authority"), Authority::new("authority"));
    let server = server_for(&authority, "IP:127.0.0.1");
    let (ca, strange) = (authority.path("ca.pem"), other.path("ca.pem"));
    for (mode, more, ssl) in [
        ("disabled", None, "f"),
        ("preferred", None, "t"),
        ("required", None, "t"),
        ("verify-ca", Some(&ca), "t"),
        ("verify-identity", Some(&ca), "t"),
    ] {
        let mut settings = vec![("sslMode", mode)];
        settings.extend(more.map(|path| ("sslCa", path.as_str())));
        let mut store = opened(&server, &settings).unwrap_or_else(|failure| panic!("{mode}: {failure}"));
        assert_eq!(seen(&server), [[ssl, "-"]], "{mode}");
        store.close();
    }
    for mode in ["verify-ca", "verify-identity"] {
        let refused = opened(&server, &[("sslMode", mode), ("sslCa", &strange)]).map(drop);
        assert!(
            matches!(&refused, Err(Failure::Unusable(text)) if text.contains("certificate")),
            "{refused:?}"
        );
    }
    let refused = opened(&server, &[("sslMode", "verify-ca"), ("sslCa", "/nowhere/ca.pem")]).map(drop);
    assert!(
        matches!(&refused, Err(Failure::Unusable(text)) if text.contains("/nowhere/ca.pem")),
        "{refused:?}"
    );
}

#[test]
fn a_certificate_for_another_host_is_enough_for_verify_ca_alone() {
    let authority = Authority::new("authority");
    let server = server_for(&authority, "DNS:elsewhere");
    let ca = authority.path("ca.pem");
    opened(&server, &[("sslMode", "verify-ca"), ("sslCa", &ca)]).expect("the authority is right").close();
    let refused = opened(&server, &[("sslMode", "verify-identity"), ("sslCa", &ca)]).map(drop);
    assert!(matches!(&refused, Err(Failure::Unusable(text)) if text.contains("elsewhere")), "{refused:?}");
}

#[test]
fn our_own_certificate_is_shown_to_a_server_that_asks() {
    let authority = Authority::new("authority");
    let server = server_for(&authority, "IP:127.0.0.1");
    authority.sign("client", "DNS:client");
    let (ca, certificate, key) =
        (authority.path("ca.pem"), authority.path("client.pem"), authority.path("client-key.pem"));
    let settings =
        [("sslMode", "verify-identity"), ("sslCa", &ca), ("sslCert", &certificate), ("sslKey", &key)];
    let mut store = opened(&server, &settings).expect("both are right");
    assert_eq!(seen(&server), [["t", "/CN=client"]]);
    store.close();
}
