//! Who flowd is at a broker: passwords by every mechanism, certificates of both sides.

use super::{guarded, lines, reading};
use crate::harness::{Job, Kafka, Mesh};
use crate::suite::access::certificates::Authority;

/// Messages in the topic that is read.
const COUNT: u32 = 10;

/// A broker with a listener that asks for a password over TLS (PORT+2), and one that asks for a certificate (PORT+3).
struct Guarded {
    kafka: Kafka,
    mesh: Mesh,
    /// Has signed the broker's certificate and `client.pem`.
    authority: Authority,
}

impl Guarded {
    fn start() -> Self {
        let authority = Authority::new("ca");
        ["server", "client"].iter().for_each(|name| authority.sign(name, "IP:127.0.0.1"));
        let part = |name: &str| std::fs::read_to_string(authority.path(name)).unwrap();
        std::fs::write(authority.path("store.pem"), part("server-key.pem") + &part("server.pem")).unwrap();
        let modules = "org.apache.kafka.common.security";
        let scram = format!("{modules}.scram.ScramLoginModule required;");
        let kafka = Kafka::start_with(&[
            "listeners=PLAINTEXT://127.0.0.1:PORT+0,CONTROLLER://127.0.0.1:PORT+1,SASL_SSL://127.0.0.1:PORT+2,SSL://127.0.0.1:PORT+3",
            "sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
            &format!(
                "listener.name.sasl_ssl.plain.sasl.jaas.config={modules}.plain.PlainLoginModule required user_flowd=\"secret\";"
            ),
            &format!("listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config={scram}"),
            &format!("listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config={scram}"),
            "listener.name.ssl.ssl.client.auth=required",
            "ssl.keystore.type=PEM",
            &format!("ssl.keystore.location={}", authority.path("store.pem")),
            "ssl.truststore.type=PEM",
            &format!("ssl.truststore.location={}", authority.path("ca.pem")),
        ]);
        kafka.create("safe", 1);
        kafka.produce("safe", &lines(0..COUNT));
        Self { kafka, mesh: Mesh::start(), authority }
    }

    /// Reads what there is, over TLS.
    fn job(&self, listener: u16) -> Job {
        reading(&self.kafka, &self.mesh, "safe", "safe")
            .set(
                "connectorConfig.bootstrapServers",
                &format!("[\"127.0.0.1:{}\"]", self.kafka.port + listener),
            )
            .set("connectorConfig.sslMode", "verify-identity")
            .set("connectorConfig.sslCa", &self.authority.path("ca.pem"))
            .set("connectorConfig.follow", "false")
    }

    fn with_password(&self, mechanism: &str, password: &str) -> Job {
        guarded(&self.kafka, self.job(2), password).set("connectorConfig.saslMechanism", mechanism)
    }

    /// The job reads all of it, as a group of its own and into a topic of its own.
    fn arrives(&self, job: Job, name: &str) {
        let job = job.set("connectorConfig.groupId", name).set("pubSubConfig.subject", name);
        job.start(&[]).wait().expect_code(0);
        self.mesh.read(name, |events| events.len() == COUNT as usize);
    }
}

fn refused(job: &Job, said: &str) {
    job.start(&[]).wait().expect_code(3).expect_log(said);
}

#[test]
fn passwords_are_proved_by_every_mechanism_over_tls() {
    let guarded = Guarded::start();
    for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-512"] {
        let password = format!("{mechanism}=[password=secret]");
        let user = ["--entity-type", "users", "--entity-name", "flowd"];
        guarded.kafka.tool("configs", &[&["--alter", "--add-config", &password][..], &user].concat(), "");
    }
    for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
        refused(&guarded.with_password(mechanism, "wrong"), "authentication");
        guarded.arrives(guarded.with_password(mechanism, "secret"), mechanism);
    }
    refused(
        &guarded.with_password("PLAIN", "secret").set("connectorConfig.sslCa", "nowhere.pem"),
        "nowhere.pem",
    );
}

#[test]
fn certificates_of_both_sides_are_checked() {
    let (guarded, other) = (Guarded::start(), Authority::new("other"));
    other.sign("client", "IP:127.0.0.1");
    let shown = |authority: &Authority| {
        guarded
            .job(3)
            .set("connectorConfig.sslCert", &authority.path("client.pem"))
            .set("connectorConfig.sslKey", &authority.path("client-key.pem"))
    };
    guarded.arrives(shown(&guarded.authority), "shown");
    refused(&shown(&guarded.authority).set("connectorConfig.sslCa", &other.path("ca.pem")), "certificate");
    refused(&shown(&other), "received fatal alert: Certificate");
    refused(&guarded.job(3), "received fatal alert: ");
}
