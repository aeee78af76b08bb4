//! What events have in common, found once: the text around them, and the shape in which they come.

use flowd_codec::event::carried::check_reference;
use flowd_codec::event::shape::{Shape, Shaped};
use flowd_codec::event::{Framing, Template};

use super::write::is_empty;
use crate::subject::{TOPIC_BYTES_MAX, is_topic};

/// The templates of the sources, types and topics that came last, so that each of them is looked at once.
pub(super) struct Templates {
    framing: Framing,
    known: Vec<Known>,
    /// Which was asked for last.
    last: usize,
}

pub(super) struct Known {
    source: String,
    kind: String,
    topic: String,
    pub(super) template: Template,
    /// Of the events that came whole.
    pub(super) habit: Habit,
}

impl Templates {
    /// So many are compared one by one.
    const KNOWN_MAX: usize = 16;
    /// Of so many an event is compared with the shape: topics have events of a few types.
    const SHAPES_TRIED: usize = 4;

    pub(super) fn new(framing: Framing) -> Self {
        Self { framing, known: Vec::new(), last: 0 }
    }

    /// An event that has the shape of one before it, and its template; its extensions are then `attributes`.
    pub(super) fn shaped<'a>(
        &mut self,
        event: &'a str,
        topic: &str,
        attributes: &mut Vec<u8>,
    ) -> Option<(&Known, Shaped<'a>)> {
        let last = self.last;
        let others = (0..self.known.len()).filter(|at| *at != last);
        for at in std::iter::once(last).chain(others).take(Self::SHAPES_TRIED) {
            let known = self.known.get_mut(at).filter(|known| known.topic == topic);
            if let Some(shaped) = known.and_then(|known| known.habit.read(event, attributes)) {
                self.last = at;
                return Some((&self.known[at], shaped));
            }
        }
        None
    }

    /// Takes the shape of an event that has the template which was asked for last.
    pub(super) fn learn(&mut self, json: &[u8]) {
        self.known[self.last].habit.learn(json);
    }

    /// The template of events of this source, type and topic, or what is wrong with them.
    pub(super) fn of(&mut self, source: &str, kind: &str, topic: &str) -> Result<&Template, String> {
        let is_it = |known: &Known| known.topic == topic && known.kind == kind && known.source == source;
        let at = match self.known.iter().position(is_it) {
            Some(at) => at,
            None => {
                check(source, kind, topic)?;
                if self.known.len() == Self::KNOWN_MAX {
                    self.known.clear();
                }
                let template = Template::new(self.framing, source, kind, topic);
                let [source, kind, topic] = [source, kind, topic].map(str::to_owned);
                self.known.push(Known { source, kind, topic, template, habit: Habit::default() });
                self.known.len() - 1
            }
        };
        self.last = at;
        Ok(&self.known[at].template)
    }
}

/// The shape that events have, as long as they have one.
#[derive(Default)]
pub(super) struct Habit {
    shape: Option<Shape>,
    /// Whether another event had it.
    is_known: bool,
    /// Events of another shape until one is taken again …
    wait: u32,
    /// … and how many those were: where each event has its own, that is hardly ever worth it.
    waited: u32,
}

impl Habit {
    const WAIT_MAX: u32 = 1023;

    pub(super) fn content_type(&self) -> Option<&str> {
        self.shape.as_ref()?.content_type()
    }

    fn read<'a>(&mut self, event: &'a str, attributes: &mut Vec<u8>) -> Option<Shaped<'a>> {
        let shaped = self.shape.as_ref()?.read(event, attributes);
        self.is_known |= shaped.is_some();
        shaped
    }

    /// Takes the shape of an event that had another.
    fn learn(&mut self, json: &[u8]) {
        if std::mem::take(&mut self.is_known) {
            (self.wait, self.waited) = (0, 0);
        }
        if self.wait > 0 {
            self.wait -= 1;
            return;
        }
        self.wait = self.waited;
        self.waited = (2 * self.waited + 1).min(Self::WAIT_MAX);
        self.shape = Shape::of(json);
    }
}

fn check(source: &str, kind: &str, topic: &str) -> Result<(), String> {
    if let Some((name, _)) = [("source", source), ("type", kind)].iter().find(|(_, value)| value.is_empty()) {
        return Err(is_empty(name));
    }
    if !is_topic(topic) {
        return Err(format!(
            "\"{topic}\" is no topic: 1 to {TOPIC_BYTES_MAX} letters, digits, `.`, `_`, `-`"
        ));
    }
    check_reference("source", source)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(extension: &str) -> String {
        format!(r#"{{"specversion":"1.0","id":"1","source":"/s","type":"t","{extension}":"1","data":2}}"#)
    }

    /// What is to become of an event: `.` by the shape, `l` learnt, `-` neither.
    fn told(habit: &mut Habit, extension: &str) -> char {
        let mut attributes = Vec::new();
        let has =
            |habit: &mut Habit, attributes: &mut Vec<u8>| habit.read(&event(extension), attributes).is_some();
        if has(habit, &mut attributes) {
            return '.';
        }
        habit.learn(event(extension).as_bytes());
        let is_known = std::mem::take(&mut habit.is_known);
        let is_learnt = has(habit, &mut attributes);
        habit.is_known = is_known;
        if is_learnt { 'l' } else { '-' }
    }

    #[test]
    fn a_shape_is_learnt_at_once_and_where_none_is_kept_ever_more_seldom() {
        let mut habit = Habit::default();
        let mut all = |extensions: &str| {
            extensions.chars().map(|extension| told(&mut habit, &extension.to_string())).collect::<String>()
        };
        assert_eq!(all("aaabbbaa"), "l..l..l.");
        assert_eq!(all("abcdefghijkl"), ".ll-l---l---");
        assert_eq!(all("lllll"), "----l");
    }
}
