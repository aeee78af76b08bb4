//! Listens to what sinks say they have applied, for the pool.

use std::rc::Rc;
use std::time::Duration;

use flowd_codec::applied;
use flowd_codec::event::incoming;
use flowd_codec::event::view::Data;
use flowd_codec::frame::{Subscription, SubscriptionMode};
use tracing::{debug, warn};

use super::shared::Shared;
use crate::config::MeshConfig;
use crate::subscribe::{Feed, feed};

/// Before a subscription that the server refused is tried again.
const REFUSED_WAIT: Duration = Duration::from_secs(5);

/// Takes reports from the control topic, for ever. A report that is lost, or comes while there is no connection, is said
/// again by its sink.
pub(super) async fn listen(shared: Rc<Shared>) {
    let Some(applied) = &shared.config.applied else { return std::future::pending().await };
    loop {
        // Everybody who listens gets every report, so the group must be nobody else's.
        let group =
            format!("{}-applied-{}-{:08x}", shared.config.group, std::process::id(), rand::random::<u32>());
        let config = MeshConfig { group, ..shared.config.clone() };
        let subscription = Subscription::new([&*applied.topic], SubscriptionMode::Broadcasting);
        let (mut feed, reading) = feed(config, subscription, Default::default());
        let ended = tokio::select! {
            ended = reading.run() => ended,
            () = take(&shared, &mut feed) => Ok(()),
        };
        if let Err(failure) = ended {
            warn!(topic = applied.topic, %failure, "what sinks have applied cannot be heard, will try again");
        }
        tokio::time::sleep(REFUSED_WAIT).await;
    }
}

async fn take(shared: &Shared, feed: &mut Feed) {
    while let Some(run) = feed.next().await {
        for event in run.events() {
            take_event(shared, event);
        }
        feed.confirm(run.last);
        shared.spread(None);
    }
}

fn take_event(shared: &Shared, event: &[u8]) {
    let Ok(event) = incoming::read(event) else { return debug!("no CloudEvent on the control topic") };
    let report = match &event.data {
        Data::Json(data) if event.event_type == applied::EVENT_TYPE => applied::read(data),
        _ => return debug!(event_type = &*event.event_type, "no report on the control topic"),
    };
    match report {
        Ok(report) => shared.pool.borrow_mut().take_report(&report),
        Err(error) => warn!("a report of what a sink has applied cannot be read: {error}"),
    }
}
