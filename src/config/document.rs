//! A configuration file as a tree that still knows the line of every key. YAML and, as its subset, JSON.
//!
//! It does not know which keys exist. Invariant: every entry carries the 1-based line where its key stands.

use std::collections::HashMap;

use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle, ScanError, Span};

/// More nodes than this are no configuration; the bound also stops alias bombs.
const NODES_MAX: usize = 20_000;

/// One node of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Node {
    /// Nothing was written: `key:`, `~` or `null`.
    Null,
    /// A scalar's text, after quotes and escapes.
    Scalar(String),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping, in the order of the file.
    Map(Vec<Entry>),
}

/// One `key: value` of a mapping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The key's text.
    pub(crate) key: String,
    /// The line of the key, from 1.
    pub(crate) line: usize,
    /// What it holds.
    pub(crate) value: Node,
}

/// Why a file is not a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Malformed {
    /// What is wrong.
    pub(crate) text: String,
    /// Where, from 1.
    pub(crate) line: usize,
}

/// Reads one document. An empty file is an empty mapping.
pub(crate) fn parse(text: &str) -> Result<Vec<Entry>, Malformed> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut builder = Builder { parser: Parser::new_from_str(text), anchors: HashMap::new(), nodes: 0 };
    let mut document = None;
    while let Some((event, span)) = builder.next()? {
        if !event.is_node() {
            continue;
        }
        if document.is_some() {
            return Err(malformed("a second document; one file holds one configuration", &span));
        }
        document = Some((builder.node(event, &span)?, span));
    }
    match document {
        None | Some((Node::Null, _)) => Ok(Vec::new()),
        Some((Node::Map(entries), _)) => Ok(entries),
        Some((_, span)) => Err(malformed("the file must be a mapping of sections (pubSubConfig: …)", &span)),
    }
}

struct Builder<'a> {
    parser: Parser<'a, serde_saphyr::granit_parser::StrInput<'a>>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
}

impl<'a> Builder<'a> {
    fn next(&mut self) -> Result<Option<(Event<'a>, Span)>, Malformed> {
        self.parser.next_event().transpose().map_err(|error| scan_error(&error))
    }

    /// The next event inside a collection; the parser itself reports an unfinished one.
    fn inside(&mut self, open: &Span) -> Result<(Event<'a>, Span), Malformed> {
        loop {
            match self.next()? {
                Some((Event::Comment(..) | Event::Anchor(..), _)) => {}
                Some(found) => return Ok(found),
                None => return Err(malformed("this list or mapping does not end", open)),
            }
        }
    }

    fn node(&mut self, event: Event<'a>, span: &Span) -> Result<Node, Malformed> {
        self.count(1, span)?;
        let (node, anchor) = match event {
            Event::Scalar(text, style, anchor, _) => (scalar(&text, style), anchor),
            Event::SequenceStart(_, anchor, _) => (self.list(span)?, anchor),
            Event::MappingStart(_, anchor, _) => (self.map(span)?, anchor),
            Event::Alias(id) => {
                let node = self.anchors.get(&id).cloned();
                let node = node.ok_or_else(|| malformed("an alias inside its own anchor", span))?;
                self.count(size(&node), span)?;
                (node, 0)
            }
            other => return Err(malformed(&format!("unexpected YAML event {other:?}"), span)),
        };
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn list(&mut self, open: &Span) -> Result<Node, Malformed> {
        let mut items = Vec::new();
        loop {
            match self.inside(open)? {
                (Event::SequenceEnd, _) => return Ok(Node::List(items)),
                (event, span) => items.push(self.node(event, &span)?),
            }
        }
    }

    fn map(&mut self, open: &Span) -> Result<Node, Malformed> {
        let mut entries: Vec<Entry> = Vec::new();
        loop {
            let (event, span) = self.inside(open)?;
            let key = match event {
                Event::MappingEnd => return Ok(Node::Map(entries)),
                Event::Scalar(text, ..) => text.into_owned(),
                _ => return Err(malformed("a key must be plain text", &span)),
            };
            let line = span.start.line();
            if let Some(first) = entries.iter().find(|entry| entry.key == key) {
                return Err(malformed(
                    &format!("`{key}` again; it stands in line {} already", first.line),
                    &span,
                ));
            }
            let (event, span) = self.inside(open)?;
            let value = self.node(event, &span)?;
            entries.push(Entry { key, line, value });
        }
    }

    fn count(&mut self, nodes: usize, span: &Span) -> Result<(), Malformed> {
        self.nodes += nodes;
        if self.nodes > NODES_MAX {
            return Err(malformed(&format!("more than {NODES_MAX} values, aliases included"), span));
        }
        Ok(())
    }
}

fn scalar(text: &str, style: ScalarStyle) -> Node {
    let plain = style == ScalarStyle::Plain;
    if plain && matches!(text, "" | "~" | "null" | "Null" | "NULL") {
        return Node::Null;
    }
    Node::Scalar(text.to_owned())
}

fn size(node: &Node) -> usize {
    match node {
        Node::Null | Node::Scalar(_) => 1,
        Node::List(items) => 1 + items.iter().map(size).sum::<usize>(),
        Node::Map(entries) => 1 + entries.iter().map(|entry| size(&entry.value)).sum::<usize>(),
    }
}

fn malformed(text: &str, span: &Span) -> Malformed {
    Malformed { text: text.to_owned(), line: span.start.line() }
}

fn scan_error(error: &ScanError) -> Malformed {
    Malformed { text: error.info(), line: error.marker().line() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<(String, usize)> {
        parse(text).expect("parses").into_iter().map(|entry| (entry.key, entry.line)).collect()
    }

    #[test]
    fn every_key_knows_its_line_in_yaml_and_in_json() {
        let yaml = "# head\n\na: 1\nb:\n  c: [x, y]\n\nd: |\n  text\n  more\ne: ~\n";
        let keys = [("a", 3), ("b", 4), ("d", 7), ("e", 10)].map(|(key, line)| (key.to_owned(), line));
        assert_eq!(lines(yaml), keys);
        let json = "{\n  \"a\": {\"b\": \"x\\ny\"},\n\t\"c\": null\n}\n";
        assert_eq!(lines(json), [("a".to_owned(), 2), ("c".to_owned(), 3)]);
    }

    #[test]
    fn an_alias_is_its_anchor_and_a_bomb_of_them_is_refused() {
        let entries = parse("a: &x [1, 2]\nb: *x\n").expect("parses");
        assert_eq!(entries[0].value, entries[1].value);
        let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
        for level in 1..9 {
            let below = format!("*a{},", level - 1).repeat(10);
            bomb.push_str(&format!("a{level}: &a{level} [{below}]\n"));
        }
        assert!(parse(&bomb).expect_err("too large").text.contains("more than"));
    }

    #[test]
    fn what_is_no_mapping_of_sections_is_refused_with_its_line() {
        for (text, line) in [
            ("- a\n", 1),
            ("a: 1\na: 2\n", 2),
            ("a: 1\n---\nb: 2\n", 3),
            ("a: [1\nb: 2\n", 2),
            ("? [x]\n: 1\n", 1),
        ] {
            let problem = parse(text).expect_err(text);
            assert!(problem.line.abs_diff(line) <= 1, "{text:?}: {problem:?}");
        }
        assert_eq!(parse("# nothing\n"), Ok(Vec::new()));
    }
}
