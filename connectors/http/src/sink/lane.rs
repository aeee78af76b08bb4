//! A lane of deliveries: one connection, over which its events go one message after another, so that they keep their order.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use flowd_sink::deliver::DeliverEvent;
use http_body_util::Full;
use hyper::{HeaderMap, Method, Request, Uri};

use super::Mode;
use super::connection::{Connection, Far};
use super::verdict::Verdict;
use crate::binding::write::{self, Message};

/// What became of an event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum Fate {
    /// Nothing yet.
    #[default]
    Open,
    /// The far side has it.
    Delivered,
    /// The far side will never take it.
    Refused(String),
}

/// Why a lane stopped before its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Halt {
    /// Not now; not before this time has passed, if the far side says so.
    Later(String, Option<Duration>),
    /// Nothing goes on until somebody sees to it.
    Unusable(String),
}

/// What a lane did: fates, by the events' indices, and why it stopped, if it did.
pub(super) struct Done {
    pub(super) fates: Vec<(usize, Fate)>,
    pub(super) halt: Option<Halt>,
}

/// One connection and what goes over it.
#[derive(Default)]
pub(super) struct Lane {
    pub(super) connection: Connection,
}

impl Lane {
    /// Delivers the events with these indices, in order, until the end or until something has to heal first.
    pub(super) async fn deliver(
        &mut self,
        far: &Far,
        mode: Mode,
        events: &[DeliverEvent<'_>],
        indices: &[usize],
    ) -> Done {
        let mut done = Done { fates: Vec::with_capacity(indices.len()), halt: None };
        let mut groups: VecDeque<&[usize]> = groups(far, mode, events, indices);
        while let Some(group) = groups.pop_front() {
            let made = || post(far, mode, events, group);
            let request = match made() {
                Ok(request) => request,
                Err(reason) => {
                    refuse(&mut groups, group, reason, &mut done.fates);
                    continue;
                }
            };
            let again = || made().expect("what was made once can be made again");
            let answer = match self.connection.ask(far, request, again).await {
                Ok(answer) => answer,
                Err(text) => {
                    done.halt = Some(Halt::Later(text, None));
                    return done;
                }
            };
            match answer.verdict(SystemTime::now()) {
                Verdict::Delivered => done.fates.extend(group.iter().map(|&index| (index, Fate::Delivered))),
                Verdict::Refused(reason) => refuse(&mut groups, group, reason, &mut done.fates),
                Verdict::Later(text, wait) => {
                    done.halt = Some(Halt::Later(text, wait));
                    return done;
                }
                Verdict::Unusable(text) => {
                    done.halt = Some(Halt::Unusable(text));
                    return done;
                }
            }
        }
        done
    }
}

/// Refuses an event, or halves a batch, which holds one that is refused, until it is alone.
fn refuse<'a>(
    groups: &mut VecDeque<&'a [usize]>,
    group: &'a [usize],
    reason: String,
    fates: &mut Vec<(usize, Fate)>,
) {
    match group {
        [index] => fates.push((*index, Fate::Refused(reason))),
        _ => {
            let (first, second) = group.split_at(group.len() / 2);
            groups.push_front(second);
            groups.push_front(first);
        }
    }
}

/// The events of each message.
fn groups<'a>(
    far: &Far,
    mode: Mode,
    events: &[DeliverEvent<'_>],
    indices: &'a [usize],
) -> VecDeque<&'a [usize]> {
    let Mode::Batch { events_max, bytes_max } = mode else { return indices.chunks(1).collect() };
    let mut groups = VecDeque::new();
    let mut rest = indices;
    while let Some(&first) = rest.first() {
        let mut bytes = 0;
        let fits = |&&index: &&usize| {
            let event = &events[index];
            bytes += event.json.len() + 1;
            bytes <= bytes_max && (!far.address.has_topic() || event.topic == events[first].topic)
        };
        let count = rest.iter().take(events_max).take_while(fits).count().max(1);
        let (group, others) = rest.split_at(count);
        groups.push_back(group);
        rest = others;
    }
    groups
}

/// The request that posts these events.
fn post(
    far: &Far,
    mode: Mode,
    events: &[DeliverEvent<'_>],
    group: &[usize],
) -> Result<Request<Full<Bytes>>, String> {
    let first = &events[group[0]];
    let target = far.address.target(first.topic)?;
    let message = match mode {
        Mode::Binary => write::binary(first.json, &far.headers),
        Mode::Structured => write::structured(first.json, &far.headers),
        Mode::Batch { .. } => write::batch(group.iter().map(|&index| events[index].json), &far.headers),
    };
    let Message { headers, body } = message.map_err(|error| format!("it cannot be sent: {error}"))?;
    Ok(request(Method::POST, target, headers, body))
}

/// A request as hyper has it.
pub(super) fn request(method: Method, target: Uri, headers: HeaderMap, body: Bytes) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = method;
    *request.uri_mut() = target;
    *request.headers_mut() = headers;
    request
}
