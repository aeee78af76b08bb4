//! Records of a partition on their way to a lane, which makes events of them.

use std::ops::Range;
use std::sync::Arc;

use flowd_source::{BLOCK_BYTES, Block, Pieces};
use krafka::consumer::ConsumerRecord;

use super::message::{self, Record, ValueForm};

/// Some of the records that the client gave at once, all of one partition.
pub(super) struct Records {
    all: Arc<Vec<ConsumerRecord>>,
    range: Range<usize>,
    size: usize,
    /// The mesh's topic.
    topic: Arc<str>,
    value: ValueForm,
}

impl Records {
    /// The first ones of a range, as many as are handed on at once.
    pub(super) fn first_of(
        all: &Arc<Vec<ConsumerRecord>>,
        range: Range<usize>,
        topic: &Arc<str>,
        value: ValueForm,
    ) -> Self {
        let mut texts = 0;
        let is_last = |record: &ConsumerRecord| {
            texts += size_of_texts(record);
            texts >= BLOCK_BYTES
        };
        let count = all[range.clone()].iter().position(is_last).map_or(range.len(), |at| at + 1);
        let size = texts + count * size_of::<ConsumerRecord>();
        Self { all: all.clone(), range: range.start..range.start + count, size, topic: topic.clone(), value }
    }

    /// Where the next ones begin.
    pub(super) fn end(&self) -> usize {
        self.range.end
    }
}

fn size_of_texts(record: &ConsumerRecord) -> usize {
    let headers =
        record.headers.iter().map(|(name, value)| name.len() + value.as_ref().map_or(0, |value| value.len()));
    let texts = [&record.key, &record.value].into_iter().flatten().map(|text| text.len());
    texts.chain(headers).sum()
}

impl Block for Records {
    fn size(&self) -> usize {
        self.size
    }

    fn split(&self, from: usize, out: &mut Pieces<'_>) -> Option<usize> {
        let mut headers = Vec::new();
        for (index, record) in self.all[self.range.clone()].iter().enumerate().skip(from) {
            if out.is_full() {
                return Some(index);
            }
            headers.clear();
            headers.extend(record.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref())));
            self.push(record, &headers, out);
        }
        None
    }
}

impl Records {
    fn push(&self, record: &ConsumerRecord, headers: &[(&str, Option<&[u8]>)], out: &mut Pieces<'_>) {
        let ConsumerRecord { topic, partition, offset, timestamp, key, value, .. } = record;
        let seen = Record {
            topic,
            partition: *partition,
            offset: *offset,
            timestamp_ms: (*timestamp >= 0).then_some(*timestamp),
            key: key.as_deref(),
            value: value.as_deref(),
            headers,
        };
        match message::read(&seen, self.value) {
            Ok(message) => out.push(&message.event(&self.topic, &mut Vec::new())),
            Err(reason) => {
                let reason = format!("{reason}; record of {topic}, partition {partition}, offset {offset}");
                out.reject(&reason, seen.value.unwrap_or_default());
            }
        }
    }
}
