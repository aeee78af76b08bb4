//! Names to numbers: sources, topics and lanes as they come up.

use std::sync::Arc;

use ahash::AHashMap;

/// A lane of a topic of a source, by its place in the list of lanes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct LaneId(pub(crate) u32);

/// A topic of a source, by its place in the list of topics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TopicId(pub(crate) u32);

/// A source, by its place in the list of sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SourceId(pub(crate) u32);

/// Topics of all sources together, at most. With 64 lanes each that is a few hundred MiB at the very worst, and a few KiB
/// as it is used.
const TOPICS_MAX: usize = 65_536;

/// What a topic is called, and its lanes.
#[derive(Debug)]
pub(crate) struct TopicName {
    pub(crate) source: Arc<str>,
    pub(crate) source_id: SourceId,
    pub(crate) topic: Arc<str>,
    /// Their numbers, each with its place.
    pub(crate) lanes: Vec<(u16, LaneId)>,
}

type TopicsByName = AHashMap<Arc<str>, TopicId>;

/// All names that came up.
#[derive(Debug, Default)]
pub(crate) struct Names {
    sources: AHashMap<Arc<str>, (SourceId, TopicsByName)>,
    names: Vec<TopicName>,
    lanes: u32,
    /// The topic that was asked for last: events of a topic come in runs.
    last: Option<TopicId>,
}

impl Names {
    /// The lane of that name, and its topic; a new one for a new name. `None` when there are too many topics.
    pub(crate) fn intern(&mut self, source: &str, topic: &str, lane: u16) -> Option<(LaneId, TopicId)> {
        let id = self.topic(source, topic)?;
        let lanes = &mut self.names[id.0 as usize].lanes;
        if let Some((_, known)) = lanes.iter().find(|(number, _)| *number == lane) {
            return Some((*known, id));
        }
        let new = LaneId(self.lanes);
        self.lanes += 1;
        lanes.push((lane, new));
        Some((new, id))
    }

    fn topic(&mut self, source: &str, topic: &str) -> Option<TopicId> {
        if let Some(last) = self.last
            && let Some(name) = self.names.get(last.0 as usize)
            && *name.topic == *topic
            && *name.source == *source
        {
            return Some(last);
        }
        let known = self.sources.get(source).and_then(|(_, topics)| topics.get(topic)).copied();
        let id = match known {
            Some(known) => known,
            None => self.add(source, topic)?,
        };
        self.last = Some(id);
        Some(id)
    }

    fn add(&mut self, source: &str, topic: &str) -> Option<TopicId> {
        if self.names.len() >= TOPICS_MAX {
            return None;
        }
        let id = TopicId(u32::try_from(self.names.len()).expect("TOPICS_MAX fits"));
        let source: Arc<str> = match self.sources.get_key_value(source) {
            Some((known, _)) => Arc::clone(known),
            None => source.into(),
        };
        let topic: Arc<str> = topic.into();
        let new = SourceId(u32::try_from(self.sources.len()).expect("no more sources than topics"));
        let (source_id, topics) =
            self.sources.entry(Arc::clone(&source)).or_insert_with(|| (new, AHashMap::new()));
        topics.insert(Arc::clone(&topic), id);
        self.names.push(TopicName { source, source_id: *source_id, topic, lanes: Vec::new() });
        Some(id)
    }

    pub(crate) fn name(&self, topic: TopicId) -> &TopicName {
        &self.names[topic.0 as usize]
    }
}
