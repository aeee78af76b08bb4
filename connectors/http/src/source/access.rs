//! Who may send: the credentials of `connectorConfig`, held against the header `authorization`.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, HeaderValue};

/// What a request must show; nothing where everybody may send.
#[derive(Clone, Default)]
pub(super) struct Access {
    /// Scheme and credentials.
    demanded: Option<(&'static str, String)>,
}

impl Access {
    /// Everybody.
    pub(super) fn open() -> Self {
        Self::default()
    }

    /// Who knows the token.
    pub(super) fn token(token: &str) -> Self {
        Self { demanded: Some(("Bearer", token.to_owned())) }
    }

    /// Who knows name and password.
    pub(super) fn password(name: &str, password: &str) -> Self {
        Self { demanded: Some(("Basic", STANDARD.encode(format!("{name}:{password}")))) }
    }

    /// Whether a request may pass; otherwise what `www-authenticate` tells.
    pub(super) fn check(&self, headers: &HeaderMap) -> Result<(), &'static str> {
        let Some((scheme, credentials)) = &self.demanded else { return Ok(()) };
        let given = headers.get(AUTHORIZATION).map_or(&b""[..], HeaderValue::as_bytes);
        let (given_scheme, rest) =
            given.split_at(given.iter().position(|&byte| byte == b' ').unwrap_or(given.len()));
        if given_scheme.eq_ignore_ascii_case(scheme.as_bytes())
            && is_same(rest.trim_ascii(), credentials.as_bytes())
        {
            return Ok(());
        }
        Err(match *scheme {
            "Basic" => "Basic realm=\"flowd\", charset=\"UTF-8\"",
            _ => "Bearer",
        })
    }
}

/// What is demanded is a secret.
impl fmt::Debug for Access {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.demanded.as_ref().map(|(scheme, _)| scheme);
        formatter.debug_tuple("Access").field(&scheme).finish()
    }
}

/// Takes as long for every text of one length, so that time does not tell how much of it was right.
fn is_same(given: &[u8], demanded: &[u8]) -> bool {
    let differing = given.iter().zip(demanded).fold(0, |differing, (a, b)| differing | (a ^ b));
    given.len() == demanded.len() && std::hint::black_box(differing) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(value: &str) -> HeaderMap {
        [(AUTHORIZATION, value.parse().unwrap())].into_iter().collect()
    }

    #[test]
    fn only_the_right_credentials_pass() {
        let token = Access::token("s3cret");
        assert_eq!(token.check(&with("Bearer s3cret")), Ok(()));
        assert_eq!(token.check(&with("bearer  s3cret")), Ok(()));
        for wrong in ["Bearer s3creT", "Bearer s3cre", "Bearer", "", "Basic s3cret", "s3cret"] {
            assert_eq!(token.check(&with(wrong)).unwrap_err(), "Bearer", "{wrong}");
        }
        let password = Access::password("flowd", "pass:word");
        assert_eq!(password.check(&with("Basic Zmxvd2Q6cGFzczp3b3Jk")), Ok(()));
        assert!(password.check(&HeaderMap::new()).is_err());
        assert_eq!(Access::open().check(&HeaderMap::new()), Ok(()));
    }

    #[test]
    fn secrets_are_not_printed() {
        assert_eq!(format!("{:?}", Access::token("s3cret")), "Access(Some(\"Bearer\"))");
    }
}
