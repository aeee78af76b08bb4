//! Texts with names in braces that each message or event fills in: topics and routing keys.

/// A text, cut where a field's value goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Fixed(String),
    /// The index of a name among the known ones.
    Field(usize),
}

impl Template {
    /// Reads a template in which these names may stand; the error says what is wrong with it.
    pub(crate) fn parse(text: &str, fields: &[&str]) -> Result<Self, String> {
        let (mut parts, mut rest) = (Vec::new(), text);
        while let Some(open) = rest.find('{') {
            let close =
                rest[open..].find('}').ok_or_else(|| format!("\"{text}\" has a {{ without its }}"))?;
            let name = &rest[open + 1..open + close];
            let field = fields.iter().position(|field| *field == name).ok_or_else(|| {
                format!("\"{text}\" names {{{name}}}, which is not known; known: {{{}}}", fields.join("}, {"))
            })?;
            parts.extend((open > 0).then(|| Part::Fixed(rest[..open].to_owned())));
            parts.push(Part::Field(field));
            rest = &rest[open + close + 1..];
        }
        parts.extend((!rest.is_empty()).then(|| Part::Fixed(rest.to_owned())));
        Ok(Self(parts))
    }

    /// Writes the text with the value of each name, in the order in which the names are known.
    pub(crate) fn fill(&self, values: &[&str], out: &mut String) {
        out.clear();
        for part in &self.0 {
            out.push_str(match part {
                Part::Fixed(text) => text,
                Part::Field(index) => values[*index],
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIELDS: &[&str] = &["queue", "routingKey"];

    #[test]
    fn names_in_braces_become_their_values() {
        for (text, expected) in [
            ("orders", "orders"),
            ("{queue}", "q"),
            ("a.{queue}.{routingKey}", "a.q.k"),
            ("{routingKey}{queue}-", "kq-"),
            ("", ""),
        ] {
            let mut out = "before".to_owned();
            Template::parse(text, FIELDS).unwrap().fill(&["q", "k"], &mut out);
            assert_eq!(out, expected, "{text}");
        }
    }

    #[test]
    fn a_name_that_is_not_known_is_answered_with_those_that_are() {
        let wrong = Template::parse("{topic}", FIELDS).unwrap_err();
        assert_eq!(wrong, "\"{topic}\" names {topic}, which is not known; known: {queue}, {routingKey}");
        assert!(Template::parse("{queue", FIELDS).unwrap_err().contains("without its }"));
    }
}
