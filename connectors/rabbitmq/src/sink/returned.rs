//! Which events came back because no queue took them. No I/O.
//!
//! The client gives a returned message with some confirm, which need not be its own, since a server confirms several
//! messages at once. So the event is found by what was published: of two that are the same, one is as good as the other.

use std::collections::HashMap;

use flowd_engine::failure::Failure;
use flowd_sink::deliver::Refused;
use lapin::message::BasicReturnMessage;
use lapin::types::ShortString;

use super::message::Message;

/// Of the events with these indexes and messages (with their routing keys), those that came back.
pub(super) fn find<'a>(
    returned: &[BasicReturnMessage],
    published: impl Iterator<Item = (usize, String, Message<'a>)>,
) -> Result<Vec<Refused>, Failure> {
    let mut by_id: HashMap<Option<ShortString>, Vec<(usize, String, Message<'a>)>> = HashMap::new();
    if !returned.is_empty() {
        for (index, key, message) in published {
            by_id.entry(message.properties.message_id().clone()).or_default().push((index, key, message));
        }
    }
    let mut refused = Vec::with_capacity(returned.len());
    for BasicReturnMessage { delivery, reply_text, .. } in returned {
        let alike = by_id.get_mut(delivery.properties.message_id());
        let found = alike.and_then(|alike| {
            let at = alike.iter().position(|(_, key, message)| {
                key == delivery.routing_key.as_str()
                    && *message.body == *delivery.data
                    && message.properties == delivery.properties
            });
            at.map(|at| alike.remove(at).0)
        });
        let (exchange, key) = (&delivery.exchange, &delivery.routing_key);
        let reason = format!(
            "no queue takes it from the exchange \"{exchange}\" by the routing key \"{key}\" ({reply_text})"
        );
        let Some(index) = found else {
            return Err(Failure::Fatal(format!("a message came back that was not published: {reason}")));
        };
        refused.push(Refused { index, reason });
    }
    Ok(refused)
}
