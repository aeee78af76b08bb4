//! `eventmesh-source`: what another EventMesh pushes goes on to ours, as it is.
//!
//! Kept: a push is acknowledged there only once its event is acknowledged here, or its dead letter is durable; so is
//! everything pushed before it. There is no position to go on from: the other mesh remembers what was acknowledged.

use std::borrow::Cow;
use std::sync::Arc;

use flowd_codec::frame::{Subscription, SubscriptionMode};
use flowd_codec::json::find_top_level_string;
use flowd_codec::session::Role;
use flowd_engine::failure::Failure;
use flowd_engine::record::Position;
use flowd_engine::setting::{Kind, Preset, Setting, Settings, Wrong};
use flowd_engine::worker::SourceEnd;
use flowd_source::position::{counted, number};
use flowd_source::{
    Block, Connector, Context, Event, EventSource, Events, Feeder, News, Pieces, Progress, Subject, run_async,
};

use crate::config::MeshConfig;
use crate::event_loop::greet_any;
use crate::subscribe::feed::Confirmer;
use crate::subscribe::{Feed, Run, feed};

const SETTINGS: &[Setting] = &[
    Setting::new(
        "sourceMeshAddress",
        Kind::List,
        Preset::Required,
        "the other EventMesh, host:port; several comma-separated",
    ),
    Setting::new("topics", Kind::List, Preset::Required, "the topics that are read there"),
    Setting::new("group", Kind::Text, Preset::Without("the connectorName"), "consumer group there"),
    Setting::new("userName", Kind::Text, Preset::Without("none"), "user there"),
    Setting::new("passWord", Kind::Secret, Preset::Without("none"), "its password"),
    Setting::new("idc", Kind::Text, Preset::Value("DC1"), "idc that we say there"),
    Setting::new("env", Kind::Text, Preset::Value("PRD"), "env that we say there"),
    Setting::new("appId", Kind::Text, Preset::Value("flowd"), "subsystem that we say there"),
];

/// The connector.
pub const CONNECTOR: Connector = Connector {
    name: "eventmesh-source",
    help: "topics of another EventMesh, event by event as they are",
    settings: SETTINGS,
    fields: &["topic"],
    subject: Preset::Value("{topic}"),
    progress: Progress::Outside,
    open,
};

fn open(settings: &Settings, context: Context) -> Result<Box<dyn EventSource>, Wrong> {
    let addresses = settings.list("sourceMeshAddress").to_vec();
    if let Some(wrong) = addresses.iter().find(|address| !is_address(address)) {
        return Err(Wrong::value("sourceMeshAddress", wrong, "host:port, several comma-separated"));
    }
    let topics = settings.list("topics").to_vec();
    if addresses.is_empty() {
        return Err(Wrong::new("sourceMeshAddress", "names no server; write host:port"));
    }
    match &topics[..] {
        [] => return Err(Wrong::new("topics", "names no topic; write at least one")),
        [_] => {}
        // Events that are counted by topic would share their numbers, and a sink take one for the other.
        _ if context.subject.has("topic") => {}
        _ => {
            let text = "names several, which would become one; write {topic} in `pubSubConfig.subject`";
            return Err(Wrong::new("topics", text));
        }
    }
    let text = |name| settings.text_if(name).unwrap_or_default().to_owned();
    let config = MeshConfig {
        setting: "connectorConfig.sourceMeshAddress",
        addresses,
        group: settings.text_if("group").unwrap_or(settings.connector_name()).to_owned(),
        user_name: text("userName"),
        password: settings.secret("passWord").to_owned(),
        idc: text("idc"),
        env: text("env"),
        app_id: text("appId"),
        ..MeshConfig::default()
    };
    let names = Arc::new(Names::new(context.subject, &topics));
    Ok(Box::new(Bridge { config, topics, names }))
}

/// Whether this is `host:port`.
fn is_address(text: &str) -> bool {
    let parts = text.rsplit_once(':').filter(|(host, _)| !host.is_empty());
    parts.is_some_and(|(_, port)| port.parse::<u16>().is_ok_and(|port| port > 0))
}

struct Bridge {
    config: MeshConfig,
    topics: Vec<String>,
    names: Arc<Names>,
}

/// What topics of the other mesh are called here.
struct Names {
    subject: Subject,
    /// Where one topic is read, all events are of it, and need not be asked.
    only: Option<String>,
}

impl Names {
    fn new(subject: Subject, topics: &[String]) -> Self {
        let only = match topics {
            [topic] => Some(name_of(topic, &subject).into_owned()),
            _ => None,
        };
        Self { subject, only }
    }

    /// The name of an event's topic; `None` where it names none.
    fn of(&self, json: &[u8]) -> Option<Cow<'_, str>> {
        match &self.only {
            Some(name) => Some(Cow::Borrowed(name)),
            None => Some(name_of(&find_top_level_string(json, "subject")?, &self.subject)),
        }
    }
}

fn name_of<'a>(topic: &str, subject: &'a Subject) -> Cow<'a, str> {
    subject.topic(&[("topic", topic)])
}

impl EventSource for Bridge {
    /// At least one address must greet. Nothing is subscribed yet: what was pushed before our mesh is known to be there
    /// might be lost.
    fn start(&mut self, _stored: Option<&Position>) -> Result<Position, Failure> {
        greet_any(&self.config, &Role::Publisher)?;
        Ok(counted(0))
    }

    fn run(self: Box<Self>, out: &mut Events<'_>) -> Result<SourceEnd, Failure> {
        let Self { config, topics, names } = *self;
        run_async(out, async move |feeder| {
            let subscription = Subscription::new(topics, SubscriptionMode::Clustering);
            let (feed, reading) = feed(config, subscription, Arc::default());
            // The reading ends once the feed is gone and what was confirmed is acknowledged, or when it fails.
            let (ended, ()) = tokio::join!(reading.run(), forward(feed, feeder, &names));
            ended.map(|()| SourceEnd::Stopped)
        })
    }
}

/// Passes on what is pushed, and back what is acknowledged, until the pipeline has gone down or the reading has ended.
async fn forward(feed: Feed, feeder: &mut Feeder<'_>, names: &Arc<Names>) {
    let confirmer: Confirmer = feed.confirmer();
    let mut feed = Some(feed);
    loop {
        let next = async {
            match &mut feed {
                Some(feed) => feed.next().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            news = feeder.news() => match news {
                News::Acked(position) => confirmer.confirm(number(&position)),
                News::Closing => feed = None,
                News::Drained => return,
            },
            run = next => match run {
                None => return,
                Some(run) => {
                    let last = run.last;
                    // A pipeline that goes down is the next news.
                    if feeder.push_block(Pushed { run, names: names.clone() }).await.is_ok() {
                        feeder.mark(counted(last));
                    }
                    // The other mesh may push no more before this is acknowledged.
                    if feed.as_ref().is_none_or(Feed::is_empty) {
                        let _ = feeder.flush().await;
                    }
                }
            },
        }
    }
}

/// What the other mesh pushed at once; there may be nothing in it that could be read.
struct Pushed {
    run: Run,
    names: Arc<Names>,
}

impl Block for Pushed {
    fn size(&self) -> usize {
        self.run.bytes.len()
    }

    fn split(&self, from: usize, out: &mut Pieces<'_>) -> Option<usize> {
        for (index, json) in self.run.events().enumerate().skip(from) {
            if out.is_full() {
                return Some(index);
            }
            match self.names.of(json) {
                Some(topic) => out.push(&Event::Structured { json, topic: &topic }),
                None => out.reject("the other mesh pushed an event without subject (topic)", json),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(subject: &str, given: &[(&str, &str)]) -> Result<(), Wrong> {
        let settings = Settings::of("far", SETTINGS, given)?;
        let context = Context {
            connector_name: "far".to_owned(),
            source: "/flowd/eventmesh-source/far".to_owned(),
            subject: Subject::parse(subject, CONNECTOR.fields).unwrap(),
            event_bytes_max: 1 << 20,
            stop: flowd_engine::stop::Stop::new(),
        };
        (CONNECTOR.open)(&settings, context).map(drop)
    }

    #[test]
    fn of_one_topic_no_event_is_asked_and_of_several_each_is() {
        let named = |subject: &str, topics: &[&str], json: &str| {
            let topics: Vec<String> = topics.iter().map(ToString::to_string).collect();
            let names = Names::new(Subject::parse(subject, CONNECTOR.fields).unwrap(), &topics);
            names.of(json.as_bytes()).map(Cow::into_owned)
        };
        let name = |here: &str| Some(here.to_owned());
        assert_eq!(named("{topic}", &["a.b"], "{}"), name("a.b"));
        assert_eq!(named("{topic}", &["a%b"], "{}"), name("a_b"));
        assert_eq!(named("all", &["a"], r#"{"subject":"a"}"#), name("all"));
        assert_eq!(named("{topic}", &["a", "b"], r#"{"subject":"b"}"#), name("b"));
        assert_eq!(named("to.{topic}", &["a", "b"], r#"{"subject":"b"}"#), name("to.b"));
        assert_eq!(named("{topic}", &["a", "b"], "{}"), None);
    }

    #[test]
    fn addresses_and_topics_are_judged_before_anything_is_opened() {
        let check = |subject: &str, address: &str, topics: &str, expected: Option<&str>| {
            let wrong = opened(subject, &[("sourceMeshAddress", address), ("topics", topics)]).err();
            let wrong = wrong.map(|wrong| wrong.to_string());
            let is_as_expected = match (&wrong, expected) {
                (Some(wrong), Some(expected)) => wrong.contains(expected),
                (None, None) => true,
                _ => false,
            };
            assert!(is_as_expected, "{subject} {address} {topics}: {wrong:?}");
        };
        check("{topic}", "there:10000, [::1]:10001", "a, b", None);
        check("all", "there:10000", "a", None);
        check("far.{topic}", "there:10000", "a,b", None);
        check("all", "there:10000", "a,b", Some("topics names several"));
        check(
            "{topic}",
            "there",
            "a",
            Some(r#"sourceMeshAddress "there" is not allowed; allowed: host:port"#),
        );
        check("{topic}", "there:0", "a", Some("sourceMeshAddress"));
        check("{topic}", "", "a", Some("sourceMeshAddress names no server"));
        check("{topic}", "there:10000", "", Some("topics names no topic"));
    }
}
