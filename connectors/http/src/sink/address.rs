//! Where events are posted: a URL, whose path may name the event's topic.

use hyper::Uri;

use crate::binding::header::percent_encode;

/// What stands for the topic in the URL.
const TOPIC: &str = "{topic}";

/// A URL, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    /// Whether it is https.
    pub(super) is_tls: bool,
    /// Name or number of the far side's machine, without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// As the header `host` has it.
    pub(super) authority: String,
    path: Path,
}

/// Path and query.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Path {
    Fixed(Uri),
    /// With the topic to be filled in.
    Template(String),
}

impl Address {
    /// Reads a URL.
    ///
    /// # Errors
    /// What is allowed, in words.
    pub(super) fn parse(url: &str) -> Result<Self, String> {
        let allowed =
            || "an absolute URL of http or https, in whose path {topic} stands for the topic".to_owned();
        let whole: Uri = url.replace(TOPIC, "topic").parse().map_err(|_| allowed())?;
        let is_tls = match whole.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(allowed()),
        };
        let authority = whole.authority().ok_or_else(allowed)?.as_str();
        if authority.contains('@') {
            return Err("a URL without name and password; they are userName and passWord".to_owned());
        }
        let (_, rest) = url.split_once("://").ok_or_else(allowed)?;
        let rest = rest.strip_prefix(authority).ok_or_else(allowed)?;
        let path = rest.split('#').next().unwrap_or_default();
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        let path = match path.contains(TOPIC) {
            true => Path::Template(path),
            false => Path::Fixed(path.parse().map_err(|_| allowed())?),
        };
        Ok(Self {
            is_tls,
            host: whole.host().ok_or_else(allowed)?.trim_matches(['[', ']']).to_owned(),
            port: whole.port_u16().unwrap_or(if is_tls { 443 } else { 80 }),
            authority: authority.to_owned(),
            path,
        })
    }

    /// Whether events of different topics go to different places.
    pub(super) fn has_topic(&self) -> bool {
        matches!(self.path, Path::Template(_))
    }

    /// Path and query for events of a topic.
    ///
    /// # Errors
    /// Where the topic makes them too long.
    pub(super) fn target(&self, topic: &str) -> Result<Uri, String> {
        let template = match &self.path {
            Path::Fixed(target) => return Ok(target.clone()),
            Path::Template(template) => template,
        };
        let mut encoded = Vec::with_capacity(topic.len());
        percent_encode(&mut encoded, topic, |byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte));
        let target = template.replace(TOPIC, &String::from_utf8_lossy(&encoded));
        target.parse().map_err(|error| format!("its topic makes no URL: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart() {
        let address = Address::parse("https://example.com/in/{topic}?key=1").unwrap();
        assert_eq!((address.is_tls, &*address.host, address.port), (true, "example.com", 443));
        assert_eq!(address.target("shop.orders").unwrap(), "/in/shop.orders?key=1");
        assert_eq!(address.target("a/ü").unwrap(), "/in/a%2F%C3%BC?key=1");
        let address = Address::parse("http://[::1]:8080").unwrap();
        assert_eq!((&*address.host, address.port, &*address.authority), ("::1", 8080, "[::1]:8080"));
        assert_eq!(address.target("x").unwrap(), "/");
        assert_eq!(Address::parse("http://h?x=1#f").unwrap().target("t").unwrap(), "/?x=1");
    }

    #[test]
    fn a_topic_that_makes_no_url_is_told() {
        let address = Address::parse("http://h/{topic}").unwrap();
        assert!(address.target(&"x".repeat(70_000)).unwrap_err().contains("topic"));
    }

    #[test]
    fn what_is_no_url_to_post_to_is_refused() {
        for url in
            ["", "example.com", "/path", "ftp://h/", "http://{topic}.example.com/", "http://a b/", "http://"]
        {
            assert!(Address::parse(url).unwrap_err().contains("absolute URL"), "{url}");
        }
        assert!(Address::parse("http://u:p@h/").unwrap_err().contains("userName"));
    }
}
