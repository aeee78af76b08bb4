//! How far a sink has come: what its target records. Sinks that write lines keep no record; EventMesh remembers for them
//! what they acknowledged.

use std::fmt::Write;

use flowd_sink::store::Standing;
use serde_json::{Value, json};

use crate::exit::Ending;

/// What a target records.
pub(super) fn tell(name: &str, lanes: &[Standing], json: bool) -> Result<(), Ending> {
    crate::answer(&if json { as_json(name, lanes) } else { as_text(name, lanes) })
}

pub(super) fn of_lines(name: &str, json: bool) -> Result<(), Ending> {
    let text = "keeps no record; EventMesh remembers what its group has acknowledged";
    crate::answer(&match json {
        true => as_json(name, &[]),
        false => format!("{name}: {text}\n"),
    })
}

fn as_text(name: &str, lanes: &[Standing]) -> String {
    if lanes.is_empty() {
        return format!("{name}: nothing applied yet\n");
    }
    let mut out = format!("{name} has applied\n");
    for Standing { lane, updated } in lanes {
        let (source, topic, number) = (&lane.source, &lane.topic, lane.lane);
        writeln!(
            out,
            "{source}  {topic}  lane {number:>2}  {} of epoch {}  at {updated} UTC",
            lane.sequence, lane.epoch
        )
        .expect("a string takes everything");
    }
    out
}

fn as_json(name: &str, lanes: &[Standing]) -> String {
    let lane = |Standing { lane, updated }: &Standing| {
        json!({
            "source": &*lane.source,
            "topic": &*lane.topic,
            "lane": lane.lane,
            "epoch": lane.epoch,
            "sequence": lane.sequence,
            "updated": updated,
        })
    };
    let lanes: Vec<Value> = lanes.iter().map(lane).collect();
    format!("{}\n", json!({"connector": name, "applied": lanes}))
}

#[cfg(test)]
mod tests {
    use flowd_sink::store::LaneApplied;

    use super::*;

    #[test]
    fn each_lane_is_told_with_epoch_number_and_time() {
        let lane = LaneApplied {
            source: "/flowd/mysql/orders".into(),
            topic: "shop.orders".into(),
            lane: 3,
            epoch: 1_790_000_000_000_000,
            sequence: 42,
        };
        let lanes = [Standing { lane, updated: "2026-01-31 12:00:00.125".into() }];
        let text = as_text("copy", &lanes);
        assert!(
            text.contains("shop.orders  lane  3  42 of epoch 1790000000000000  at 2026-01-31 12:00:00.125"),
            "{text}"
        );
        let json: Value = serde_json::from_str(&as_json("copy", &lanes)).expect("JSON");
        assert_eq!((&json["connector"], &json["applied"][0]["sequence"]), (&json!("copy"), &json!(42)));
        assert_eq!(json["applied"][0]["source"], "/flowd/mysql/orders");
        assert!(as_text("copy", &[]).contains("nothing applied yet"));
    }
}
