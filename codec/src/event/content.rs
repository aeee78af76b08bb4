//! What a content type says about a message of the CloudEvents bindings: which of the three modes it is in, and what kind of
//! data it holds.

/// The body is an event.
pub const STRUCTURED: &str = "application/cloudevents+json";
/// The same, as it is said in a header.
pub const STRUCTURED_UTF8: &str = "application/cloudevents+json; charset=UTF-8";
/// The body is an array of events.
pub const BATCH: &str = "application/cloudevents-batch+json";

/// The content mode of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The attributes are headers, the body is the data.
    Binary,
    /// The body is an event in JSON.
    Structured,
    /// The body is a JSON array of events.
    Batch,
    /// The body is an event in a format that is not read here, such as Avro.
    Foreign,
}

impl Mode {
    /// The mode of a message of this content type.
    pub fn of(content_type: &str) -> Self {
        let essence = essence(content_type);
        if essence.eq_ignore_ascii_case(STRUCTURED) {
            Self::Structured
        } else if essence.eq_ignore_ascii_case(BATCH) {
            Self::Batch
        } else if is_of_event(essence) {
            Self::Foreign
        } else {
            Self::Binary
        }
    }
}

/// How data of a content type stands in an event's JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As JSON itself.
    Json,
    /// As a text.
    Text,
    /// In base64.
    Binary,
}

impl Form {
    /// The form for data of this content type. A text in another encoding than UTF-8 is binary: its bytes stay.
    pub fn of(content_type: &str) -> Self {
        let is_utf8 = charset(content_type).is_none_or(|charset| {
            ["utf-8", "us-ascii"].iter().any(|known| charset.eq_ignore_ascii_case(known))
        });
        let essence = essence(content_type);
        let is_xml = ends(essence, "/xml") || ends(essence, "+xml");
        if is_json(content_type) {
            Self::Json
        } else if is_utf8 && (is_text(content_type) || is_xml) {
            Self::Text
        } else {
            Self::Binary
        }
    }
}

/// Whether a content type is JSON's: `…/json` or `…+json`.
pub fn is_json(content_type: &str) -> bool {
    let essence = essence(content_type);
    ends(essence, "/json") || ends(essence, "+json")
}

/// Whether a content type is `text/…`.
pub fn is_text(content_type: &str) -> bool {
    begins(essence(content_type), "text/")
}

/// Whether a content type stands for an event, or several, in whatever format.
pub fn is_of_event(content_type: &str) -> bool {
    begins(content_type, "application/cloudevents")
}

/// The type without its parameters.
fn essence(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}

fn begins(text: &str, with: &str) -> bool {
    text.as_bytes().get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with.as_bytes()))
}

/// With something before it.
fn ends(text: &str, with: &str) -> bool {
    let text = text.as_bytes();
    text.len() > with.len() && text[text.len() - with.len()..].eq_ignore_ascii_case(with.as_bytes())
}

fn charset(content_type: &str) -> Option<&str> {
    let parameters = content_type.split(';').skip(1);
    let mut named = parameters.filter_map(|parameter| parameter.split_once('='));
    let (_, value) = named.find(|(name, _)| name.trim().eq_ignore_ascii_case("charset"))?;
    Some(value.trim().trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_content_type_tells_the_mode() {
        for (content_type, mode) in [
            ("application/cloudevents+json", Mode::Structured),
            ("Application/CloudEvents+JSON; charset=UTF-8", Mode::Structured),
            ("application/cloudevents-batch+json", Mode::Batch),
            ("application/cloudevents+avro", Mode::Foreign),
            ("application/json", Mode::Binary),
            ("", Mode::Binary),
        ] {
            assert_eq!(Mode::of(content_type), mode, "{content_type}");
        }
    }

    #[test]
    fn the_content_type_tells_how_data_stands_in_json() {
        for (content_type, form) in [
            ("application/json", Form::Json),
            ("application/vnd.x+JSON;v=1", Form::Json),
            ("text/plain", Form::Text),
            ("text/plain; charset=\"utf-8\"", Form::Text),
            ("text/plain; charset=latin1", Form::Binary),
            ("application/xml", Form::Text),
            ("image/png", Form::Binary),
            ("", Form::Binary),
        ] {
            assert_eq!(Form::of(content_type), form, "{content_type}");
        }
    }
}
