//! A source of messages as the engine sees it.

use flowd_codec::event::{Framed, Framing};
use flowd_engine::failure::Failure;
use flowd_engine::order::Keyed;
use flowd_engine::record::Position;
use flowd_engine::worker::{Intake, Source, SourceEnd};

use crate::batch::Message;
use crate::connector::EventSource;
use crate::encode::MessageEncoder;
use crate::events::Events;

/// Any [`EventSource`], for the engine.
pub struct MessageSource {
    source: Box<dyn EventSource>,
    framing: Framing,
    /// The CloudEvents `source` of events that bring none.
    name: String,
    begin: Position,
}

impl MessageSource {
    /// Events are written in this framing; `name` is the CloudEvents `source` of those that bring none.
    pub fn new(source: Box<dyn EventSource>, framing: Framing, name: String) -> Self {
        Self { source, framing, name, begin: Position::default() }
    }
}

impl Source for MessageSource {
    type Record = Message;
    type Event = Keyed<Framed>;
    type Encoder = MessageEncoder;

    fn start(&mut self, stored: Option<&Position>) -> Result<Position, Failure> {
        self.begin = self.source.start(stored)?;
        Ok(self.begin.clone())
    }

    fn encoder(&self) -> MessageEncoder {
        MessageEncoder::new(self.framing, self.name.clone())
    }

    fn run(self, intake: &mut dyn Intake<Message>) -> Result<SourceEnd, Failure> {
        let mut events = Events::new(intake, self.begin);
        let end = self.source.run(&mut events)?;
        match (end, events.flush()) {
            (SourceEnd::Reached, Ok(())) => Ok(SourceEnd::Reached),
            (SourceEnd::Stopped, _) | (_, Err(_)) => Ok(SourceEnd::Stopped),
        }
    }
}

#[cfg(test)]
mod tests;
