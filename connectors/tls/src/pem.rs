//! Files in PEM, each with the setting that names it, so that what is wrong with one can be told. They are read when they are
//! used, since certificates are renewed.

use std::fmt;
use std::path::{Path, PathBuf};

use flowd_engine::setting::{Settings, Wrong};
use rustls::pki_types::pem::{Error, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::TlsError;

/// A file that a setting names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PemFile {
    setting: &'static str,
    path: PathBuf,
}

impl PemFile {
    /// The file at `path`, which `connectorConfig.{setting}` names.
    pub fn new(setting: &'static str, path: impl Into<PathBuf>) -> Self {
        Self { setting, path: path.into() }
    }

    /// What the setting names, where it is given.
    pub fn of(settings: &Settings, setting: &'static str) -> Option<Self> {
        settings.path_if(setting).map(|path| Self::new(setting, path))
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its certificates, at least one.
    pub(crate) fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let read = CertificateDer::pem_file_iter(&self.path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let certificates = read.map_err(|error| self.unreadable(&error))?;
        if certificates.is_empty() {
            return Err(self.wrong("no certificate in this file"));
        }
        Ok(certificates)
    }

    fn private_key(&self) -> Result<PrivateKeyDer<'static>, TlsError> {
        PrivateKeyDer::from_pem_file(&self.path).map_err(|error| match error {
            Error::NoItemsFound => self.wrong("no private key in this file"),
            error => self.unreadable(&error),
        })
    }

    fn unreadable(&self, error: &Error) -> TlsError {
        match error {
            Error::Io(error) => self.wrong(error),
            other => self.wrong(format_args!("not a PEM file as expected ({other:?})")),
        }
    }

    /// That it cannot be used.
    pub(crate) fn wrong(&self, reason: impl fmt::Display) -> TlsError {
        TlsError(format!("connectorConfig.{}: {}: {reason}", self.setting, self.path.display()))
    }
}

/// A certificate and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPair {
    /// The certificate, with those behind it.
    pub certificate: PemFile,
    /// Its private key.
    pub key: PemFile,
}

impl KeyPair {
    /// By two settings, of which neither or both must be given.
    ///
    /// # Errors
    /// The one that is missing.
    pub fn of(
        settings: &Settings,
        certificate: &'static str,
        key: &'static str,
    ) -> Result<Option<Self>, Wrong> {
        match (PemFile::of(settings, certificate), PemFile::of(settings, key)) {
            (Some(certificate), Some(key)) => Ok(Some(Self { certificate, key })),
            (None, None) => Ok(None),
            (Some(_), None) => Err(Wrong::new(key, format!("is missing: {certificate} needs its key"))),
            (None, Some(_)) => {
                Err(Wrong::new(certificate, format!("is missing: {key} needs its certificate")))
            }
        }
    }

    /// What is in the two files.
    pub(crate) fn read(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
        Ok((self.certificate.certificates()?, self.key.private_key()?))
    }

    /// That the two do not go together.
    pub(crate) fn wrong(&self, error: &rustls::Error) -> TlsError {
        let PemFile { setting, path } = &self.key;
        self.certificate.wrong(format_args!("with {setting} {}: {error}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use flowd_engine::setting::{Kind, Preset, Setting};

    use super::*;

    const KNOWN: &[Setting] = &[
        Setting::new("tlsCert", Kind::Path, Preset::Without("none"), "a certificate"),
        Setting::new("tlsKey", Kind::Path, Preset::Without("none"), "its key"),
    ];

    fn pair(given: &[(&str, &str)]) -> Result<Option<KeyPair>, Wrong> {
        KeyPair::of(&Settings::of("orders", KNOWN, given).unwrap(), "tlsCert", "tlsKey")
    }

    #[test]
    fn a_certificate_goes_with_its_key() {
        assert_eq!(pair(&[]), Ok(None));
        assert_eq!(pair(&[("tlsCert", "a.pem")]).unwrap_err().setting, "tlsKey");
        assert_eq!(pair(&[("tlsKey", "b.pem")]).unwrap_err().setting, "tlsCert");
        let both = pair(&[("tlsCert", "a.pem"), ("tlsKey", "b.pem")]).unwrap().unwrap();
        assert_eq!((both.certificate.path(), both.key.path()), (Path::new("a.pem"), Path::new("b.pem")));
    }

    #[test]
    fn what_is_wrong_with_a_file_names_its_setting_its_path_and_the_reason() {
        let directory = tempfile::tempdir().unwrap();
        for (content, reason) in [
            (None, "No such file"),
            (Some(""), "no certificate in this file"),
            (Some("-----BEGIN CERTIFICATE-----\nAAAA\n"), "not a PEM file as expected"),
        ] {
            let path = directory.path().join("ca.pem");
            if let Some(content) = content {
                std::fs::write(&path, content).unwrap();
            }
            let text = PemFile::new("sslCa", &path).certificates().unwrap_err().to_string();
            let begin = format!("connectorConfig.sslCa: {}: ", path.display());
            assert!(text.starts_with(&begin) && text.contains(reason), "{text}");
        }
        let empty = PemFile::new("sslKey", directory.path().join("ca.pem"));
        std::fs::write(empty.path(), "").unwrap();
        assert!(empty.private_key().unwrap_err().to_string().ends_with("no private key in this file"));
    }
}
