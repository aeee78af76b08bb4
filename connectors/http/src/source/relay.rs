//! Between requests and the pipeline: events go in, and acknowledgements come back to those who wait for them.
//!
//! A position is the number of a request. Invariant: a request is told once everything up to its own number is
//! acknowledged, and not before.

use std::collections::VecDeque;
use std::pin::pin;

use flowd_source::position::{counted, number};
use flowd_source::{BLOCK_BYTES, Block, Closed, Feeder, News};
use futures_util::FutureExt;
use tokio::sync::{mpsc, oneshot, watch};

use super::service::{Condition, Delivery};
use super::taken::Taken;

/// Relays until the pipeline has gone down and nothing more will be acknowledged.
pub(super) async fn run(
    feeder: &mut Feeder<'_>,
    mut queue: mpsc::Receiver<Delivery>,
    condition: &watch::Sender<Condition>,
) {
    let mut awaiting = Awaiting::default();
    loop {
        let is_full = feeder.is_full();
        tell(condition, if is_full { Condition::Full } else { Condition::Open });
        tokio::select! {
            news = feeder.news() => match news {
                News::Acked(position) => awaiting.tell(number(&position)),
                News::Closing => break,
                News::Drained => return,
            },
            Some(delivery) = queue.recv(), if !is_full => {
                if hand_on(feeder, &mut queue, delivery, &mut awaiting, condition).await.is_err() {
                    break;
                }
            }
        }
    }
    tell(condition, Condition::Stopping);
    // What waits here was not read: its clients are told so, and keep it.
    queue.close();
    while queue.try_recv().is_ok() {}
    while let Some(position) = feeder.drain().await {
        awaiting.tell(number(&position));
    }
}

fn tell(condition: &watch::Sender<Condition>, now: Condition) {
    condition.send_if_modified(|told| std::mem::replace(told, now) != now);
}

/// Pushes a delivery and those that have come with it, and hands all of it on at once if there is room for it now: nothing
/// more is there to wait for.
async fn hand_on(
    feeder: &mut Feeder<'_>,
    queue: &mut mpsc::Receiver<Delivery>,
    first: Delivery,
    awaiting: &mut Awaiting,
    condition: &watch::Sender<Condition>,
) -> Result<(), Closed> {
    let (mut taken, mut rooms) = (Taken::default(), Vec::new());
    let mut next = Some(first);
    while let Some(Delivery { events, room, acknowledged }) = next {
        for event in events {
            if taken.size() >= BLOCK_BYTES {
                push(feeder, std::mem::take(&mut taken), condition).await?;
            }
            taken.add(event);
        }
        rooms.push(room);
        let number = awaiting.add(acknowledged);
        next = if taken.size() < BLOCK_BYTES { queue.try_recv().ok() } else { None };
        if next.is_none() {
            push(feeder, std::mem::take(&mut taken), condition).await?;
            feeder.mark(counted(number));
            rooms.clear();
            next = if feeder.is_full() { None } else { queue.try_recv().ok() };
        }
    }
    feeder.flush().now_or_never().unwrap_or(Ok(()))
}

/// Pushes a block, and tells where that has to wait.
async fn push(
    feeder: &mut Feeder<'_>,
    taken: Taken,
    condition: &watch::Sender<Condition>,
) -> Result<(), Closed> {
    let mut pushing = pin!(feeder.push_block(taken));
    match pushing.as_mut().now_or_never() {
        Some(pushed) => pushed,
        None => {
            tell(condition, Condition::Full);
            pushing.await
        }
    }
}

/// Requests whose events are on their way, in the order of their numbers. Those that still wait are bounded by the
/// connections, those that gave up by what the pipeline holds.
#[derive(Default)]
struct Awaiting {
    requests: VecDeque<(u64, oneshot::Sender<()>)>,
    count: u64,
}

impl Awaiting {
    /// The number of one more.
    fn add(&mut self, acknowledged: oneshot::Sender<()>) -> u64 {
        self.count += 1;
        self.requests.push_back((self.count, acknowledged));
        self.count
    }

    fn tell(&mut self, upto: u64) {
        while self.requests.front().is_some_and(|(number, _)| *number <= upto) {
            if let Some((_, acknowledged)) = self.requests.pop_front() {
                // A client that has gone away has nobody to tell.
                let _ = acknowledged.send(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_told_when_its_number_is_acknowledged() {
        let mut awaiting = Awaiting::default();
        let mut answers: Vec<_> = (1..=3)
            .map(|number| {
                let (told, answer) = oneshot::channel();
                assert_eq!(awaiting.add(told), number);
                answer
            })
            .collect();
        awaiting.tell(2);
        assert!(answers[0].try_recv().is_ok() && answers[1].try_recv().is_ok());
        assert!(answers[2].try_recv().is_err());
        drop(awaiting);
        assert!(answers[2].try_recv().is_err());
    }
}
