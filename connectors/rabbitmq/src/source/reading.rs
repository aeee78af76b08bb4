//! A run over one connection after the other: what is delivered becomes events, and what is acknowledged is told to the
//! queue.
//!
//! Deliveries are counted over all connections; the count is the position. The server counts those of each channel from 1
//! (the delivery tag), so a tag is the position without what earlier channels had. Kept: only what a channel delivered is
//! acknowledged on it; what earlier ones delivered is the queue's to give again.

use std::pin::pin;
use std::time::Duration;

use flowd_engine::back_off::BackOff;
use flowd_source::{Closed, Failure, Feeder, News, SourceEnd, position};
use futures_util::StreamExt as _;
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicCancelOptions};
use lapin::{Channel, Consumer};
use tracing::{info, warn};

use super::RabbitSource;
use super::message::{self, Arrived};
use crate::access;

/// What a lost connection is made again after at first, and at most.
const RETRY_MIN: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(10);

/// How a channel's deliveries ended.
enum End {
    /// The connection, the channel or the consumer is gone.
    Lost(String),
    /// The pipeline went down, and what it acknowledged has been told to the queue.
    Drained,
}

pub(super) struct Reading<'a, 'b> {
    source: &'a RabbitSource,
    feeder: &'a mut Feeder<'b>,
    /// Deliveries of all channels that were handed on.
    delivered: u64,
    /// What the ids of messages that have none begin with: unlike those of any other run.
    run: String,
    is_closing: bool,
}

impl<'a, 'b> Reading<'a, 'b> {
    pub(super) fn new(source: &'a RabbitSource, feeder: &'a mut Feeder<'b>) -> Self {
        let run = format!("{:016x}", rand::random::<u64>());
        Self { source, feeder, delivered: 0, run, is_closing: false }
    }

    /// Until the pipeline goes down or a failure that cannot heal.
    pub(super) async fn run(mut self) -> Result<SourceEnd, Failure> {
        let mut back_off = BackOff::new(RETRY_MIN, RETRY_MAX);
        loop {
            let Some(consuming) = self.meanwhile(self.source.consume()).await else { break };
            let lost = match consuming {
                Ok((connection, channel, consumer)) => {
                    info!("reading the queue {}", self.source.queue);
                    back_off.reset();
                    let end = self.through(&channel, consumer).await;
                    access::close(&connection).await;
                    match end? {
                        End::Drained => break,
                        End::Lost(_) if self.is_closing => break,
                        End::Lost(reason) => reason,
                    }
                }
                Err(Failure::Retry(reason)) => reason,
                // It was there at the start.
                Err(failure) => return Err(Failure::Fatal(failure.message().to_owned())),
            };
            let wait = back_off.wait();
            warn!("{lost}; connecting again in {} ms", wait.as_millis());
            if self.meanwhile(tokio::time::sleep(wait)).await.is_none() {
                break;
            }
        }
        Ok(SourceEnd::Stopped)
    }

    /// Does something while no channel is there to acknowledge on. `None` when the pipeline goes down meanwhile.
    async fn meanwhile<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return Some(done),
                news = self.feeder.news() => match news {
                    News::Acked(_) => {}
                    News::Closing | News::Drained => return None,
                },
            }
        }
    }

    async fn through(&mut self, channel: &Channel, mut consumer: Consumer) -> Result<End, Failure> {
        let before = self.delivered;
        loop {
            let told = tokio::select! {
                news = self.feeder.news() => match news {
                    News::Acked(position) => acknowledge(channel, position::number(&position), before).await,
                    News::Closing => {
                        self.is_closing = true;
                        let tag = consumer.tag();
                        channel.basic_cancel(tag, BasicCancelOptions::default()).await
                    }
                    News::Drained => return Ok(End::Drained),
                },
                delivery = consumer.next(), if !self.is_closing => match delivery {
                    Some(Ok(delivery)) => {
                        // A pipeline that goes down is the next news.
                        self.is_closing = self.take(&delivery).await?.is_err();
                        Ok(())
                    }
                    Some(Err(error)) => Err(error),
                    None => {
                        let queue = &self.source.queue;
                        return Ok(End::Lost(format!("the server ended the consumer of the queue {queue}")));
                    }
                },
            };
            if let Err(error) = told {
                return Ok(End::Lost(format!("the queue {}: {}", self.source.queue, access::text(&error))));
            }
        }
    }

    /// Hands a delivery on.
    async fn take(&mut self, delivery: &Delivery) -> Result<Result<(), Closed>, Failure> {
        let (source, number) = (self.source, self.delivered + 1);
        let arrived = Arrived::of(delivery);
        if arrived.is_of_a_stream() {
            return Err(Failure::Fatal(format!(
                "the queue {} is a stream, which does not remember what was acknowledged; read a classic or quorum queue",
                source.queue
            )));
        }
        let pushed = match message::read(&arrived, &source.key, || format!("{}-{number}", self.run)) {
            Ok(message) => {
                let values = [
                    ("queue", source.queue.as_str()),
                    ("exchange", arrived.exchange),
                    ("routingKey", arrived.routing_key),
                ];
                let topic = source.context.subject.topic(&values);
                self.feeder.push(&message.event(&topic, &mut Vec::new())).await
            }
            Err(reason) => {
                let reason = format!("a message of the queue {}: {reason}", source.queue);
                self.feeder.reject(&reason, arrived.body).await
            }
        };
        if pushed.is_ok() {
            self.delivered = number;
            self.feeder.mark(position::counted(number));
        }
        Ok(pushed)
    }
}

/// Tells the queue that everything up to a position is done with, where this channel delivered of it.
async fn acknowledge(channel: &Channel, position: u64, before: u64) -> lapin::Result<()> {
    match position.saturating_sub(before) {
        0 => Ok(()),
        tag => channel.basic_ack(tag, BasicAckOptions { multiple: true }).await,
    }
}
