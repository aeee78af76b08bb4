//! The thread of Kafka's client: it joins the group, polls and commits there, and leaves when it is told to.

use std::sync::Arc;
use std::time::Duration;

use flowd_engine::back_off::BackOff;
use flowd_source::Failure;
use krafka::CloseOptions;
use krafka::consumer::Consumer;
use tokio::sync::{mpsc, oneshot};
use tracing::warn;

use super::KafkaSource;
use super::member::Member;
use super::poll::{Chunk, Poll, join};
use super::topics::Topics;

/// Waits between two tries to join.
const RETRY_WAIT: Duration = Duration::from_millis(200);
const RETRY_WAIT_MAX: Duration = Duration::from_secs(10);
/// How long the last commit and the word to the group may take.
const LEAVE: Duration = Duration::from_secs(5);

/// Takes part in the group until `leave` is told, or its sender is gone.
pub(super) async fn take_part(
    source: Arc<KafkaSource>,
    member: Arc<Member>,
    chunks: mpsc::Sender<Chunk>,
    mut leave: oneshot::Receiver<()>,
) {
    let joined = tokio::select! {
        joined = join_at_last(&source, &member) => joined,
        _ = &mut leave => return,
    };
    let (consumer, topics) = match joined {
        Ok(joined) => joined,
        Err(failure) => {
            // Whoever takes no more is going down anyway.
            let _ = chunks.send(Chunk::Failed(failure)).await;
            return;
        }
    };
    let poll = Poll { source, member: member.clone(), consumer: consumer.clone(), chunks };
    tokio::spawn(poll.run(topics));
    tokio::select! {
        () = member.commit_regularly() => {}
        _ = &mut leave => {}
    }
    // The group is told, which commits what is acknowledged on the way.
    if let Err(error) = consumer.close_with(CloseOptions::new().timeout(LEAVE)).await {
        warn!("leaving the consumer group failed, it notices by itself: {error}");
    }
}

/// Joins the group, for as long as it takes.
async fn join_at_last(
    source: &KafkaSource,
    member: &Arc<Member>,
) -> Result<(Arc<Consumer>, Topics), Failure> {
    let mut back_off = BackOff::new(RETRY_WAIT, RETRY_WAIT_MAX);
    loop {
        match join(source, member).await {
            Err(Failure::Retry(text)) => warn!("trying again: {text}"),
            settled => return settled,
        }
        tokio::time::sleep(back_off.wait()).await;
    }
}
