//! Proving who we are: the answers that the authentication plugins expect (Protocol manual, "Authentication
//! Methods"; MariaDB, "Authentication Plugin - ed25519").
//!
//! Pure: bytes in, bytes out. The scrambles are those of `mysql_common`; the key that a server sends is checked here
//! before that crate sees it, since its parser trusts its input. Invariant: a password leaves this module in clear
//! text only for a connection under TLS.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mysql_common::auth::plugins::caching_sha2_password::scramble_sha256;
use mysql_common::auth::plugins::client_ed25519::ClientEd25519;
use mysql_common::auth::plugins::mysql_native_password::scramble_native;
use mysql_common::auth::plugins::{ChallengeResponsePlugin, Context, Response};
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject;

use crate::error::WireError;

/// The methods that we speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// MySQL 8 and later.
    CachingSha2,
    /// MySQL up to 8.4, MariaDB.
    Native,
    /// MariaDB.
    Ed25519,
}

impl Method {
    /// The method behind a plugin's name; `None` where we do not speak it.
    pub fn from_name(name: &[u8]) -> Option<Self> {
        match name {
            b"caching_sha2_password" => Some(Self::CachingSha2),
            b"mysql_native_password" => Some(Self::Native),
            b"client_ed25519" => Some(Self::Ed25519),
            _ => None,
        }
    }

    /// The plugin's name on the client's side.
    pub fn name(self) -> &'static str {
        match self {
            Self::CachingSha2 => "caching_sha2_password",
            Self::Native => "mysql_native_password",
            Self::Ed25519 => "client_ed25519",
        }
    }

    /// The answer to the server's nonce. No password is an empty answer, but for ed25519, which signs with it.
    pub fn answer(self, nonce: &[u8], password: &str) -> Result<Vec<u8>, WireError> {
        let nonce_bytes = if self == Self::Ed25519 { 32 } else { 20 };
        let nonce = nonce.get(..nonce_bytes).ok_or_else(|| {
            let length = nonce.len();
            WireError::Protocol(format!("{} needs a nonce of {nonce_bytes} bytes, got {length}", self.name()))
        })?;
        let password = password.as_bytes();
        Ok(match self {
            Self::CachingSha2 => {
                let nonce = nonce.try_into().expect("cut to 20 bytes above");
                scramble_sha256(nonce, password).map(|answer| answer.to_vec()).unwrap_or_default()
            }
            Self::Native => {
                scramble_native(nonce, password).map(|answer| answer.to_vec()).unwrap_or_default()
            }
            Self::Ed25519 => signature(nonce, password)?,
        })
    }
}

fn signature(nonce: &[u8], password: &[u8]) -> Result<Vec<u8>, WireError> {
    match ClientEd25519::default().run(PasswordOnly(password), nonce) {
        Ok(Response::Last { packet: Some(signature) } | Response::Next { packet: Some(signature) }) => {
            Ok(signature)
        }
        _ => Err(WireError::Protocol("client_ed25519: a nonce that cannot be signed".into())),
    }
}

/// All that ed25519 asks of its surroundings.
struct PasswordOnly<'a>(&'a [u8]);

impl Context for PasswordOnly<'_> {
    fn pass(&self) -> &[u8] {
        self.0
    }

    fn is_ipc_transport(&self) -> bool {
        false
    }

    fn is_tls_transport(&self) -> bool {
        false
    }

    fn scramble(&self) -> &[u8] {
        &[]
    }

    fn server_key_pem(&self) -> Option<&[u8]> {
        None
    }
}

/// The password under the server's RSA key (PEM), for caching_sha2_password without TLS: XOR with the nonce, then
/// OAEP. Whoever sits on the path can send a key of his own; only TLS with a verified certificate helps against that.
pub fn encrypted_password(nonce: &[u8], password: &str, key_pem: &[u8]) -> Result<Vec<u8>, WireError> {
    let wrong = |what: &str| WireError::Protocol(format!("caching_sha2_password: {what}"));
    let key =
        SubjectPublicKeyInfoDer::from_pem_slice(key_pem).map_err(|_| wrong("the server's key is not PEM"))?;
    if !is_rsa_key(key.as_ref()) {
        return Err(wrong("the server's key is not an RSA key of 1024 bits or more"));
    }
    let nonce = nonce.get(..20).ok_or_else(|| wrong("the nonce is too short"))?;
    let clear = password.bytes().chain([0]);
    let hidden: Vec<u8> = clear.zip(nonce.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
    // Written anew, so that the crate parses the very key that was checked.
    let checked = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----", STANDARD.encode(&key));
    mysql_common::crypto::encrypt(&hidden, checked.as_bytes())
        .map_err(|error| wrong(&format!("the password cannot be encrypted with the server's key: {error}")))
}

/// Whether this is SEQUENCE { SEQUENCE algorithm, BIT STRING { SEQUENCE { INTEGER modulus, INTEGER exponent } } } in
/// DER, with numbers that RSA can work with (RFC 3279, 2.3.1).
fn is_rsa_key(der: &[u8]) -> bool {
    fn shape(der: &[u8]) -> Option<bool> {
        let (key, rest) = element(der, 0x30)?;
        let (_, after_algorithm) = element(key, 0x30)?;
        let (bits, after_bits) = element(after_algorithm, 0x03)?;
        let (numbers, after_numbers) = element(bits.strip_prefix(&[0])?, 0x30)?;
        let (modulus, after_modulus) = element(numbers, 0x02)?;
        let (exponent, after_exponent) = element(after_modulus, 0x02)?;
        let whole = [rest, after_bits, after_numbers, after_exponent].iter().all(|rest| rest.is_empty());
        let modulus = modulus.strip_prefix(&[0]).unwrap_or(modulus);
        let odd = |number: &[u8]| number.last().is_some_and(|byte| byte & 1 == 1);
        Some(
            whole
                && (128..=2048).contains(&modulus.len())
                && odd(modulus)
                && exponent.len() <= 8
                && odd(exponent),
        )
    }
    shape(der).unwrap_or(false)
}

/// The first element's content if its tag is `tag`, and what follows it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&first, rest) = der.strip_prefix(&[tag])?.split_first()?;
    if first < 0x80 {
        return rest.split_at_checked(usize::from(first));
    }
    let (length, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
    if length.is_empty() || length.len() > 4 {
        return None;
    }
    let length = length.iter().fold(0usize, |length, byte| length << 8 | usize::from(*byte));
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONCE: &[u8; 20] = b"abcdefghijklmnopqrst";

    fn pem(der: &[u8]) -> String {
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der))
    }

    fn tagged(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = u16::try_from(content.len()).expect("short").to_be_bytes();
        [&[tag, 0x82], &length[..], content].concat()
    }

    fn key(modulus: &[u8]) -> Vec<u8> {
        let numbers = tagged(0x30, &[tagged(0x02, modulus), tagged(0x02, &[1, 0, 1])].concat());
        let bits = tagged(0x03, &[&[0], numbers.as_slice()].concat());
        tagged(0x30, &[tagged(0x30, &[5, 0]), bits].concat())
    }

    #[test]
    fn an_empty_password_gives_an_empty_answer() {
        assert_eq!(Method::CachingSha2.answer(NONCE, "").expect("answer"), b"");
        assert_eq!(Method::Native.answer(NONCE, "").expect("answer"), b"");
    }

    #[test]
    fn answers_have_the_length_that_the_protocol_names() {
        assert_eq!(Method::CachingSha2.answer(NONCE, "secret").expect("answer").len(), 32);
        assert_eq!(Method::Native.answer(NONCE, "secret").expect("answer").len(), 20);
        assert_eq!(Method::Ed25519.answer(&[7; 32], "secret").expect("answer").len(), 64);
    }

    /// MariaDB's manual shows what `ed25519_password('secret')` gives: the public key that the server stores.
    #[test]
    fn the_ed25519_answer_is_valid_under_the_key_that_mariadb_stores() {
        use rustls::pki_types::alg_id;

        let stored = base64::engine::general_purpose::STANDARD_NO_PAD
            .decode("ZIgUREUg5PVgQ6LskhXmO+eZLS0nC8be6HPjYWR4YJY")
            .expect("base64");
        let algorithms = rustls::crypto::ring::default_provider().signature_verification_algorithms;
        let ed25519 = algorithms.all.iter().find(|known| known.public_key_alg_id() == alg_id::ED25519);
        let is_valid = |nonce: &[u8], answer: &[u8]| {
            ed25519.expect("ring knows it").verify_signature(&stored, nonce, answer).is_ok()
        };
        for nonce in [[0; 32], [7; 32], [255; 32]] {
            let answer = Method::Ed25519.answer(&nonce, "secret").expect("answer");
            assert!(is_valid(&nonce, &answer));
            assert!(!is_valid(&[1; 32], &answer), "it answers another nonce");
            let wrong = Method::Ed25519.answer(&nonce, "Secret").expect("answer");
            assert!(!is_valid(&nonce, &wrong), "it proves another password");
        }
    }

    #[test]
    fn a_short_nonce_is_refused() {
        for method in [Method::CachingSha2, Method::Native, Method::Ed25519] {
            let error = method.answer(b"short", "secret").expect_err("5 bytes are too few");
            assert!(error.to_string().contains("got 5"), "{error}");
        }
    }

    #[test]
    fn the_password_is_encrypted_to_the_length_of_the_key() {
        let encrypted =
            encrypted_password(NONCE, "secret", pem(&key(&[0xff; 256])).as_bytes()).expect("encrypted");
        assert_eq!(encrypted.len(), 256);
    }

    #[test]
    fn a_malformed_server_key_is_refused_at_every_cut() {
        let whole = key(&[0xff; 256]);
        for end in 0..whole.len() {
            let error = encrypted_password(NONCE, "secret", pem(&whole[..end]).as_bytes()).expect_err("cut");
            assert!(matches!(error, WireError::Protocol(_)), "{error}");
        }
        for (bad, why) in [(vec![0xff; 64], "short"), (vec![0xfe; 256], "even"), (vec![0; 256], "zero")] {
            encrypted_password(NONCE, "secret", pem(&key(&bad)).as_bytes()).expect_err(why);
        }
        encrypted_password(NONCE, "secret", b"not a key").expect_err("no PEM");
    }

    #[test]
    fn a_password_longer_than_the_key_holds_is_refused() {
        let long = "x".repeat(250);
        encrypted_password(NONCE, &long, pem(&key(&[0xff; 256])).as_bytes())
            .expect_err("OAEP holds 214 bytes");
    }
}
