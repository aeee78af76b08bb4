//! `kafka-source`: takes the records of topics as a member of a consumer group, and commits each to it once the mesh has
//! acknowledged its event.
//!
//! Offsets are kept twice. The group's are what Kafka's own tools show and move, and what another instance begins at; they
//! hold where there are any. The registry's hold where the group has none (any more), and where that has none either,
//! `startAt` is looked up, once. Both are written behind acknowledgements only, so whichever holds, nothing is lost.

use flowd_engine::setting::joined;
use flowd_source::subject::is_topic;
use flowd_source::{
    Connector, Context, EventSource, Events, Failure, Kind, Position, Preset, Progress, Setting, Settings,
    SourceEnd, Wrong,
};
use krafka::admin::{
    AdminClient, DescribeTopicsOptions, ListConsumerGroupOffsetsOptions, ListOffsetsOptions, OffsetSpec,
};
use krafka::consumer::TopicPartition;

use crate::access::{self, Access, failure};

mod client;
mod member;
mod message;
mod offsets;
mod poll;
mod reading;
mod records;
mod topics;

use message::ValueForm;
use offsets::Offsets;

/// The `type` of an event that is made of a plain record.
const RECORD_TYPE: &str = "flowd.kafka.record";

/// The connector, for the table.
pub const CONNECTOR: Connector = Connector {
    name: "kafka-source",
    help: "records of Kafka topics, in a consumer group, committed to it once the mesh has them",
    settings: &joined::<15>(
        &access::SETTINGS,
        &[
            Setting::new("topics", Kind::List, Preset::Required, "what is read; each must exist"),
            Setting::new(
                "groupId",
                Kind::Text,
                Preset::Without("the connectorName"),
                "the consumer group; instances of one group share the partitions",
            ),
            Setting::new(
                "groupInstanceId",
                Kind::Text,
                Preset::Without("after a kill, the group waits ten seconds for the lost instance"),
                "a name of this instance alone, which gets its partitions back at once when it starts again",
            ),
            Setting::new(
                "startAt",
                Kind::Choice(&["earliest", "latest"]),
                Preset::Value("earliest"),
                "where a first start begins; later ones where the group or the registry says",
            ),
            Setting::new(
                "follow",
                Kind::Switch,
                Preset::Value("true"),
                "false ends the run once everything that was there at its start is acknowledged",
            ),
            Setting::new(
                "value",
                Kind::Choice(&["auto", "json", "text", "binary"]),
                Preset::Value("auto"),
                "what the value of a record is that does not say it; auto looks at it",
            ),
            Setting::new(
                "onGap",
                Kind::Choice(&["stop", "skip"]),
                Preset::Value("stop"),
                "what to do where Kafka deleted records that were not read yet",
            ),
        ],
    ),
    fields: &["topic"],
    subject: Preset::Value("{topic}"),
    progress: Progress::Registry(|position| {
        Offsets::read(position).map_or_else(|error| error, |found| found.words())
    }),
    open: |settings, context| Ok(Box::new(KafkaSource::open(settings, context)?)),
};

/// The source.
struct KafkaSource {
    access: Access,
    topics: Vec<String>,
    group: String,
    group_instance: Option<String>,
    start_at: OffsetSpec,
    follow: bool,
    value: ValueForm,
    skips_gaps: bool,
    context: Context,
    /// Where a partition begins of which the group has no offset.
    begin: Offsets,
    /// Where a run ends that does not follow.
    end: Offsets,
}

impl KafkaSource {
    fn open(settings: &Settings, context: Context) -> Result<Self, Wrong> {
        let topics = settings.list("topics");
        if topics.is_empty() {
            return Err(Wrong::new("topics", "is empty; name at least one topic"));
        }
        if let Some(wrong) = topics.iter().find(|topic| !is_topic(topic)) {
            return Err(Wrong::value("topics", wrong, "names of letters, digits, `.`, `_`, `-`"));
        }
        Ok(Self {
            access: Access::of(settings)?,
            topics: topics.to_vec(),
            group: settings.text_if("groupId").unwrap_or(&context.connector_name).to_owned(),
            group_instance: settings.text_if("groupInstanceId").map(str::to_owned),
            start_at: if settings.text("startAt") == "latest" {
                OffsetSpec::Latest
            } else {
                OffsetSpec::Earliest
            },
            follow: settings.switch("follow"),
            value: match settings.text("value") {
                "json" => ValueForm::Json,
                "text" => ValueForm::Text,
                "binary" => ValueForm::Binary,
                _ => ValueForm::Auto,
            },
            skips_gaps: settings.text("onGap") == "skip",
            context,
            begin: Offsets::default(),
            end: Offsets::default(),
        })
    }

    /// Where each partition begins, and where it ends now.
    async fn look(&self, stored: &Offsets) -> Result<(Offsets, Offsets), Failure> {
        let kafka = self.access.connect(|builder| builder).await?;
        let admin = kafka.admin();
        let partitions = self.partitions(&admin).await?;
        let committed = self.committed(&admin, &partitions).await?;
        let start = list(&admin, &partitions, self.start_at).await?;
        let first = list(&admin, &partitions, OffsetSpec::Earliest).await?;
        let end = list(&admin, &partitions, OffsetSpec::Latest).await?;
        let mut begin = Offsets::default();
        for (topic, partition, start) in start.iter() {
            let known = committed.get(topic, partition).or_else(|| stored.get(topic, partition));
            // Of a topic that was read before, a partition that was not is new: all that is in it came since.
            let new = first.get(topic, partition).filter(|_| stored.has(topic));
            begin.set(topic, partition, known.or(new).unwrap_or(start));
        }
        Ok((begin, end))
    }

    /// The partitions of all topics, which must exist.
    async fn partitions(&self, admin: &AdminClient) -> Result<Vec<TopicPartition>, Failure> {
        let options = DescribeTopicsOptions::default().timeout(access::REQUEST_TIMEOUT);
        let described = admin.describe_topics(&self.topics, options).await;
        let mut partitions = Vec::new();
        for (topic, described) in described.map_err(|error| failure(&error, "looking at the topics"))? {
            let described = described.map_err(|error| failure(&error, &format!("the topic {topic}")))?;
            partitions.extend(
                described.partitions.iter().map(|partition| TopicPartition::new(&topic, partition.partition)),
            );
        }
        Ok(partitions)
    }

    /// What the group has committed.
    async fn committed(
        &self,
        admin: &AdminClient,
        partitions: &[TopicPartition],
    ) -> Result<Offsets, Failure> {
        let what = || format!("the offsets of the consumer group {}", self.group);
        let options = ListConsumerGroupOffsetsOptions::default()
            .timeout(access::REQUEST_TIMEOUT)
            .partitions(partitions.to_vec());
        let found = admin.list_consumer_group_offsets(&self.group, options).await;
        let mut committed = Offsets::default();
        for (partition, found) in found.map_err(|error| failure(&error, &what()))? {
            if let Some(offset) = found.map_err(|error| failure(&error, &what()))?.offset {
                committed.set(partition.topic(), partition.partition(), offset);
            }
        }
        Ok(committed)
    }
}

/// The offsets of a kind.
async fn list(
    admin: &AdminClient,
    partitions: &[TopicPartition],
    spec: OffsetSpec,
) -> Result<Offsets, Failure> {
    let options = ListOffsetsOptions::default().timeout(access::REQUEST_TIMEOUT).read_committed(true);
    let listed =
        admin.list_offsets(partitions.iter().map(|partition| (partition.clone(), spec)), options).await;
    let mut offsets = Offsets::default();
    for (partition, listed) in listed.map_err(|error| failure(&error, "looking up offsets"))? {
        let (topic, number) = (partition.topic(), partition.partition());
        let listed = listed
            .map_err(|error| failure(&error, &format!("looking up offsets of {topic}, partition {number}")));
        offsets.set(topic, number, listed?.offset);
    }
    Ok(offsets)
}

impl EventSource for KafkaSource {
    fn start(&mut self, stored: Option<&Position>) -> Result<Position, Failure> {
        let stored = stored.map(Offsets::read).transpose().map_err(Failure::Unusable)?.unwrap_or_default();
        let (begin, end) = access::block_on(self.look(&stored))?;
        (self.begin, self.end) = (begin, end);
        Ok(self.begin.position())
    }

    fn run(self: Box<Self>, out: &mut Events<'_>) -> Result<SourceEnd, Failure> {
        reading::read(*self, out)
    }
}

#[cfg(test)]
mod tests {
    use flowd_engine::stop::Stop;
    use flowd_source::Subject;

    use super::*;

    fn open(given: &[(&str, &str)]) -> Result<KafkaSource, Wrong> {
        let context = Context {
            connector_name: "orders".to_owned(),
            source: "/flowd/kafka/orders".to_owned(),
            subject: Subject::parse("{topic}", CONNECTOR.fields).unwrap(),
            event_bytes_max: 1 << 20,
            stop: Stop::new(),
        };
        let mut all = vec![("bootstrapServers", "a:9092"), ("topics", "x, y")];
        all.extend(given);
        KafkaSource::open(&Settings::of("orders", CONNECTOR.settings, &all)?, context)
    }

    #[test]
    fn the_group_is_called_as_the_connector_unless_it_is_named() {
        assert_eq!(open(&[]).map(|source| source.group), Ok("orders".to_owned()));
        assert_eq!(open(&[("groupId", "g")]).map(|source| source.group), Ok("g".to_owned()));
    }

    #[test]
    fn topics_must_be_topics() {
        for topics in ["", "a b", "a,ü"] {
            assert_eq!(open(&[("topics", topics)]).err().unwrap().setting, "topics", "{topics}");
        }
    }
}
