//! The topic of an event: a fixed name, or a template whose fields the source fills in.

use std::borrow::Cow;

/// The most bytes of a topic: no sink's record holds more.
pub const TOPIC_BYTES_MAX: usize = 255;

/// `pubSubConfig.subject` of a source of messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    /// A field's name.
    Field(String),
}

impl Subject {
    /// Reads a name or a template.
    ///
    /// # Errors
    /// What is allowed, in words.
    pub fn parse(text: &str, fields: &[&str]) -> Result<Self, String> {
        let allowed = || Self::allowed(fields);
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (field, after) = after.split_once('}').ok_or_else(allowed)?;
            if !fields.contains(&field) {
                return Err(allowed());
            }
            pieces.push(Piece::Text(before.to_owned()));
            pieces.push(Piece::Field(field.to_owned()));
            rest = after;
        }
        pieces.push(Piece::Text(rest.to_owned()));
        pieces.retain(|piece| !matches!(piece, Piece::Text(text) if text.is_empty()));
        let is_plain = |piece: &Piece| match piece {
            Piece::Text(text) => text.chars().all(is_topic_char),
            Piece::Field(_) => true,
        };
        if pieces.is_empty() || !pieces.iter().all(is_plain) {
            return Err(allowed());
        }
        Ok(Self(pieces))
    }

    /// What may be written, in words.
    pub fn allowed(fields: &[&str]) -> String {
        let fields: Vec<String> = fields.iter().map(|field| format!("{{{field}}}")).collect();
        let fields = match &fields[..] {
            [] => String::new(),
            [one] => format!(", and the field {one}"),
            several => format!(", and the fields {}", several.join(", ")),
        };
        format!("a topic: letters, digits, `.`, `_`, `-`{fields}")
    }

    /// The topic, with these values for the fields. Characters that a topic cannot have become `_`, as they do in names of
    /// tables; what has become of them is still to be checked where it is used: it may be empty or too long.
    pub fn topic(&self, values: &[(&str, &str)]) -> Cow<'_, str> {
        if let [Piece::Text(text)] = &self.0[..] {
            return Cow::Borrowed(text);
        }
        let mut topic = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => topic.push_str(text),
                Piece::Field(field) => {
                    let value = values.iter().find(|(name, _)| name == field).map_or("", |(_, value)| *value);
                    topic.extend(value.chars().map(|c| if is_topic_char(c) { c } else { '_' }));
                }
            }
        }
        Cow::Owned(topic)
    }

    /// Whether the topic depends on this field.
    pub fn has(&self, field: &str) -> bool {
        self.0.iter().any(|piece| matches!(piece, Piece::Field(name) if name == field))
    }
}

/// Whether EventMesh and every sink take a topic of this name.
pub fn is_topic(name: &str) -> bool {
    (1..=TOPIC_BYTES_MAX).contains(&name.len()) && name.chars().all(is_topic_char)
}

fn is_topic_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(text: &str, values: &[(&str, &str)]) -> String {
        Subject::parse(text, &["queue", "key"]).unwrap().topic(values).into_owned()
    }

    #[test]
    fn a_template_is_filled_in_and_what_no_topic_can_hold_becomes_an_underscore() {
        assert_eq!(topic("orders", &[]), "orders");
        assert_eq!(topic("in.{queue}-{key}", &[("queue", "a b"), ("key", "ü/x")]), "in.a_b-__x");
        assert_eq!(topic("{queue}", &[]), "");
        let subject = Subject::parse("{queue}", &["queue"]).unwrap();
        assert!(subject.has("queue") && !subject.has("key"));
    }

    #[test]
    fn what_is_no_template_is_answered_with_the_fields() {
        for text in ["", "a b", "{table}", "{queue", "queue}", "{}"] {
            let allowed = Subject::parse(text, &["queue", "key"]).unwrap_err();
            assert!(allowed.ends_with("and the fields {queue}, {key}"), "{text}: {allowed}");
        }
        assert!(!Subject::parse("a b", &[]).unwrap_err().contains("field"));
    }

    #[test]
    fn a_topic_is_plain_and_not_too_long() {
        assert!(is_topic("a.B_9-") && is_topic(&"x".repeat(255)));
        assert!(!is_topic("") && !is_topic("a/b") && !is_topic(&"x".repeat(256)));
    }
}
