//! Certificates for the TLS promises, made by `openssl`, and those that MySQL makes for itself.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::harness::Server;

/// The kind of an authority's keys.
#[derive(Debug, Clone, Copy)]
pub enum Key {
    Rsa,
    Curve,
}

/// A directory with an authority (`ca.pem`) and what it signed.
pub struct Authority {
    directory: tempfile::TempDir,
    key: Key,
}

impl Authority {
    /// A self-signed authority of this common name.
    pub fn new(name: &str) -> Self {
        Self::with_key(name, Key::Curve)
    }

    pub fn with_key(name: &str, key: Key) -> Self {
        let directory = tempfile::Builder::new().prefix("flowd-ca-").tempdir().unwrap();
        std::fs::write(directory.path().join("openssl.cnf"), "[req]\ndistinguished_name=dn\n[dn]\n").unwrap();
        let authority = Self { directory, key };
        authority.request("ca", name, &["-addext", "basicConstraints=critical,CA:TRUE"]);
        authority
    }

    /// Signs `NAME.pem` with the key `NAME-key.pem` for a subject alternative name, as `IP:127.0.0.1`.
    pub fn sign(&self, name: &str, alternative_name: &str) {
        let (ca, key) = (self.path("ca.pem"), self.path("ca-key.pem"));
        let alternative_name = format!("subjectAltName={alternative_name}");
        let constraints = "basicConstraints=critical,CA:FALSE";
        self.request(
            name,
            name,
            &["-CA", &ca, "-CAkey", &key, "-addext", &alternative_name, "-addext", constraints],
        );
    }

    /// Where a file of the directory lies.
    pub fn path(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }

    fn request(&self, file: &str, name: &str, arguments: &[&str]) {
        let new_key: &[&str] = match self.key {
            Key::Rsa => &["rsa:2048"],
            Key::Curve => &["ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"],
        };
        let run = Command::new("openssl")
            .args(["req", "-x509", "-nodes", "-days", "30", "-newkey"])
            .args(new_key)
            .args(["-config", &self.path("openssl.cnf"), "-subj", &format!("/CN={name}")])
            .args([
                "-keyout",
                &self.path(&format!("{file}-key.pem")),
                "-out",
                &self.path(&format!("{file}.pem")),
            ])
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .expect("openssl starts");
        assert!(run.status.success(), "openssl req: {}", String::from_utf8_lossy(&run.stderr));
    }
}

/// A file of the server's datadir, where MySQL leaves the certificates that it makes for itself.
pub fn of_server(server: &Server, name: &str) -> String {
    let datadir = PathBuf::from(&server.run("SELECT @@datadir")[0][0]);
    datadir.join(name).display().to_string()
}

/// The common name of a certificate's subject.
pub fn common_name(certificate: &str) -> String {
    assert!(Path::new(certificate).exists(), "{certificate} is missing");
    let run = Command::new("openssl")
        .args(["x509", "-noout", "-subject", "-nameopt", "multiline", "-in", certificate])
        .output()
        .expect("openssl starts");
    let text = String::from_utf8(run.stdout).unwrap();
    let line = text.lines().find_map(|line| line.trim().strip_prefix("commonName"));
    line.expect("a common name").trim_start_matches([' ', '=']).to_owned()
}
