//! A verifier that looks at a server's certificate as the mode says, and why it refuses, in words.
//!
//! The chain is looked at first, the name last. Where only the authority counts, the name is passed over: the certificates
//! that MySQL makes for itself have none.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use crate::TlsError;
use crate::client::{Authorities, TlsMode};

/// What is looked at.
#[derive(Debug)]
pub(crate) enum Trust {
    Anybody,
    Chain(Roots),
    ChainAndName(Roots),
}

impl Trust {
    /// As the mode says. Reads its authorities.
    pub(crate) fn of(mode: &TlsMode) -> Result<Self, TlsError> {
        Ok(match mode {
            TlsMode::Disabled | TlsMode::Preferred | TlsMode::Required => Self::Anybody,
            TlsMode::VerifyCa(authorities) => Self::Chain(Roots::read(authorities)?),
            TlsMode::VerifyIdentity(authorities) => Self::ChainAndName(Roots::read(authorities)?),
        })
    }
}

/// Authorities, read.
#[derive(Debug)]
pub(crate) struct Roots {
    roots: RootCertStore,
    /// What is trusted as it is.
    known: Vec<CertificateDer<'static>>,
}

impl Roots {
    fn read(authorities: &Authorities) -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        let file = match authorities {
            Authorities::File(file) => file,
            Authorities::Machine => {
                let found = rustls_native_certs::load_native_certs();
                if roots.add_parsable_certificates(found.certs).0 > 0 {
                    return Ok(Self { roots, known: Vec::new() });
                }
                let reasons: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
                return Err(TlsError(format!(
                    "this machine has no certificates of authorities ({}); install ca-certificates, or name a file by sslCa",
                    reasons.join("; ")
                )));
            }
        };
        let known = file.certificates()?;
        for certificate in &known {
            roots
                .add(certificate.clone())
                .map_err(|error| file.wrong(format_args!("a certificate that cannot be used: {error}")))?;
        }
        Ok(Self { roots, known })
    }
}

#[derive(Debug)]
pub(crate) struct Verifier {
    trust: Trust,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    pub(crate) fn new(trust: Trust, provider: Arc<CryptoProvider>) -> Self {
        Self { trust, provider }
    }

    fn verify_chain(
        &self,
        Roots { roots, known }: &Roots,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        if known.contains(leaf) {
            return Ok(());
        }
        let algorithms = self.provider.signature_verification_algorithms.all;
        let parsed = ParsedCertificate::try_from(leaf)?;
        verify_server_cert_signed_by_trust_anchor(&parsed, roots, intermediates, now, algorithms)
    }

    /// Where the certificate itself is not looked at, its signature proves nothing either; and webpki could not read
    /// an X.509 v1 certificate, which such servers may have.
    fn verify_signature(
        &self,
        verify: impl FnOnce(&WebPkiSupportedAlgorithms) -> Result<HandshakeSignatureValid, Error>,
    ) -> Result<HandshakeSignatureValid, Error> {
        match self.trust {
            Trust::Anybody => Ok(HandshakeSignatureValid::assertion()),
            Trust::Chain(_) | Trust::ChainAndName(_) => {
                verify(&self.provider.signature_verification_algorithms)
            }
        }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match &self.trust {
            Trust::Anybody => {}
            Trust::Chain(roots) => self.verify_chain(roots, leaf, intermediates, now)?,
            Trust::ChainAndName(roots) => {
                self.verify_chain(roots, leaf, intermediates, now)?;
                verify_server_name(&ParsedCertificate::try_from(leaf)?, name)?;
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify_signature(|algorithms| verify_tls12_signature(message, leaf, signature, algorithms))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify_signature(|algorithms| verify_tls13_signature(message, leaf, signature, algorithms))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Why a certificate is not accepted, in words.
pub(crate) fn explain(reason: &CertificateError, authorities: Option<&Authorities>) -> String {
    let whom = match authorities {
        Some(Authorities::File(file)) => format!("in sslCa {}", file.path().display()),
        Some(Authorities::Machine) | None => "that this machine trusts".to_owned(),
    };
    match reason {
        CertificateError::UnknownIssuer => format!("it does not come from an authority {whom}"),
        // MySQL calls every authority that it makes for itself the same, so this is a usual mistake.
        CertificateError::BadSignature
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            format!("it comes from another authority that has the name, but not the key, of the one {whom}")
        }
        // webpki verifies no older format; the reason has no variant of its own.
        other if format!("{other:?}").contains("UnsupportedCertVersion") => {
            "it is an X.509 certificate of version 1, which cannot be verified; make one of version 3 (with extensions)"
                .to_owned()
        }
        CertificateError::NotValidForNameContext { expected, presented } if presented.is_empty() => format!(
            "it has no subject alternative name (SAN), so it cannot prove that it is {}; give the server a certificate \
             with a SAN",
            expected.to_str()
        ),
        CertificateError::NotValidForNameContext { expected, presented } => {
            let presented: Vec<&str> = presented.iter().map(|name| bare(name)).collect();
            format!("it is for {}, not for {}", presented.join(", "), expected.to_str())
        }
        other => other.to_string(),
    }
}

/// `DnsName("db1")` without the ornament.
fn bare(presented: &str) -> &str {
    presented.split('"').nth(1).unwrap_or(presented)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::pem::PemFile;
    use crate::provider;

    /// The day on which the certificates of these tests were made, by `openssl req -x509` with and without `-addext`, and
    /// the one of version 1 by `openssl x509 -req`. They are good for 30 days.
    const MADE: u64 = 1_795_979_906;
    const DAY: u64 = 24 * 60 * 60;

    fn file(name: &str) -> PemFile {
        PemFile::new("sslCa", format!("{}/certificates/{name}.pem", env!("CARGO_MANIFEST_DIR")))
    }

    /// What becomes of a certificate that a server shows, when it is looked at some days after it was made.
    fn looked_at(mode: &TlsMode, shown: &str, host: &str, days: u64) -> Result<(), String> {
        let verifier = Verifier::new(Trust::of(mode).expect("the files are good"), provider());
        let leaf = file(shown).certificates().expect("the file is good").remove(0);
        let name = ServerName::try_from(host).expect("a name");
        let now = UnixTime::since_unix_epoch(Duration::from_secs(MADE + days * DAY));
        let verified = verifier.verify_server_cert(&leaf, &[], &name, &[], now);
        verified.map(drop).map_err(|error| match error {
            Error::InvalidCertificate(reason) => explain(&reason, mode.authorities()),
            other => other.to_string(),
        })
    }

    fn refused(mode: &TlsMode, shown: &str, host: &str, days: u64, words: &str) {
        let refused = looked_at(mode, shown, host, days).expect_err(words);
        assert!(refused.contains(words), "{refused}");
    }

    fn by_authority(name: &str) -> [TlsMode; 2] {
        let authorities = Authorities::File(file(name));
        [TlsMode::VerifyCa(authorities.clone()), TlsMode::VerifyIdentity(authorities)]
    }

    #[test]
    fn a_mode_that_does_not_verify_takes_every_certificate() {
        for shown in ["server", "nameless", "old"] {
            assert_eq!(looked_at(&TlsMode::Required, shown, "db2", 90), Ok(()));
            assert_eq!(looked_at(&TlsMode::Preferred, shown, "db2", 90), Ok(()));
        }
    }

    #[test]
    fn a_mode_that_verifies_takes_no_certificate_of_another_authority_and_none_out_of_date() {
        for mode in by_authority("authority") {
            assert_eq!(looked_at(&mode, "server", "db1", 1), Ok(()));
            assert_eq!(looked_at(&mode, "server", "192.0.2.1", 1), Ok(()));
            refused(&mode, "server", "db1", 31, "expired");
            refused(&mode, "old", "db1", 1, "version 1");
        }
        for mode in by_authority("stranger") {
            refused(&mode, "server", "db1", 1, "not come from an authority in sslCa");
        }
        for mode in by_authority("namesake") {
            refused(&mode, "server", "db1", 1, "has the name, but not the key, of the one in sslCa");
        }
    }

    #[test]
    fn only_verify_identity_looks_at_the_name() {
        let [chain, name] = by_authority("authority");
        assert_eq!(looked_at(&chain, "server", "db2", 1), Ok(()));
        assert_eq!(looked_at(&chain, "nameless", "db1", 1), Ok(()));
        refused(&name, "server", "db2", 1, "it is for db1");
        refused(&name, "nameless", "db1", 1, "no subject alternative name (SAN)");
    }

    #[test]
    fn a_certificate_that_is_in_the_file_itself_is_trusted_whatever_its_dates() {
        let [chain, name] = by_authority("server");
        assert_eq!(looked_at(&chain, "server", "db2", 90), Ok(()));
        assert_eq!(looked_at(&name, "server", "db1", 90), Ok(()));
        refused(&name, "server", "db2", 1, "not for db2");
    }
}
