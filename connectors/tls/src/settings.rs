//! The settings that several connectors have in common, for a choice of no TLS and TLS that is verified.

use flowd_engine::setting::{Kind, Preset, Setting, Settings, Wrong};

use crate::client::{Authorities, ClientTls, TlsMode};
use crate::pem::{KeyPair, PemFile};

/// Whether there is TLS.
pub const SSL_MODE: Setting = Setting::new(
    "sslMode",
    Kind::Choice(&["disabled", "verify-identity"]),
    Preset::Value("disabled"),
    "plain TCP, or TLS with a certificate that is trusted and names the host",
);
/// Who is trusted.
pub const SSL_CA: Setting = Setting::new(
    "sslCa",
    Kind::Path,
    Preset::Without("those of this machine"),
    "PEM file of the authorities that are trusted",
);
/// Our own certificate.
pub const SSL_CERT: Setting = Setting::new(
    "sslCert",
    Kind::Path,
    Preset::Without("none"),
    "PEM file of our own certificate, for a server that asks for one",
);
/// Its key.
pub const SSL_KEY: Setting =
    Setting::new("sslKey", Kind::Path, Preset::Without("none"), "PEM file of the key of sslCert");

impl ClientTls {
    /// What the four settings say together.
    ///
    /// # Errors
    /// A file that has no use, or that is missing.
    pub fn read(settings: &Settings) -> Result<Self, Wrong> {
        if settings.text(SSL_MODE.name) == "disabled" {
            let files = [SSL_CA, SSL_CERT, SSL_KEY];
            return match files.iter().find(|file| settings.path_if(file.name).is_some()) {
                Some(file) => Err(Wrong::new(
                    file.name,
                    "is of no use with sslMode disabled; set sslMode: verify-identity",
                )),
                None => Ok(Self { mode: TlsMode::Disabled, certificate: None }),
            };
        }
        Ok(Self {
            mode: TlsMode::VerifyIdentity(Authorities::of(PemFile::of(settings, SSL_CA.name))),
            certificate: KeyPair::of(settings, SSL_CERT.name, SSL_KEY.name)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[Setting] = &[SSL_MODE, SSL_CA, SSL_CERT, SSL_KEY];

    fn tls(given: &[(&str, &str)]) -> Result<ClientTls, Wrong> {
        ClientTls::read(&Settings::of("orders", KNOWN, given).unwrap())
    }

    #[test]
    fn files_go_with_tls_and_a_certificate_with_its_key() {
        for file in ["sslCa", "sslCert", "sslKey"] {
            assert_eq!(tls(&[(file, "a.pem")]).unwrap_err().setting, file);
        }
        let verified = ("sslMode", "verify-identity");
        assert_eq!(tls(&[verified, ("sslCert", "a.pem")]).unwrap_err().setting, "sslKey");
        assert_eq!(tls(&[verified, ("sslKey", "a.pem")]).unwrap_err().setting, "sslCert");
    }

    #[test]
    fn whoever_this_machine_trusts_is_trusted_unless_a_file_says_otherwise() {
        let mode = |given: &[(&str, &str)]| tls(given).unwrap().mode;
        assert_eq!(mode(&[]), TlsMode::Disabled);
        let verified = ("sslMode", "verify-identity");
        assert_eq!(mode(&[verified]), TlsMode::VerifyIdentity(Authorities::Machine));
        let file = Authorities::File(PemFile::new("sslCa", "ca.pem"));
        assert_eq!(mode(&[verified, ("sslCa", "ca.pem")]), TlsMode::VerifyIdentity(file));
    }
}
