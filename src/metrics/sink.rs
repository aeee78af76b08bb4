//! The numbers that only a sink has.

use std::sync::Arc;

use flowd_mesh::{announce, subscribe};
use flowd_sink::stats::SinkStats;

use super::text::{Page, reconnects};

/// What counts at a sink, beside the pipeline.
#[derive(Debug, Clone, Default)]
pub struct SinkNumbers {
    /// Of the connection that events come on.
    pub subscriber: Arc<subscribe::stats::Stats>,
    /// Of the sink.
    pub sink: Arc<SinkStats>,
    /// Of the reports to sources.
    pub announcer: Arc<announce::Stats>,
}

pub(super) fn render(page: &mut Page, numbers: &SinkNumbers) {
    reconnects(page, [&numbers.subscriber.reconnects, &numbers.sink.reopened]);
    subscriber(page, &numbers.subscriber);
    applied(page, &numbers.sink);
    let announcer = &numbers.announcer;
    page.counter("flowd_announced_total", "Reports sent to sources of what is applied.", &announcer.sent);
    page.counter("flowd_announce_refusals_total", "Reports that EventMesh refused.", &announcer.refused);
}

fn subscriber(page: &mut Page, stats: &subscribe::stats::Stats) {
    page.gauge("flowd_mesh_listening", "Connections that EventMesh pushes to.", &stats.connected);
    page.counter("flowd_mesh_pushes_total", "Events pushed by EventMesh.", &stats.pushes);
    page.counter("flowd_mesh_push_bytes_total", "Bytes of their JSON.", &stats.bytes);
    page.counter("flowd_mesh_pushes_acked_total", "Pushes acknowledged.", &stats.acked);
    page.gauge("flowd_mesh_pushes_in_hand", "Pushes that are not acknowledged yet.", &stats.in_hand);
    page.counter(
        "flowd_mesh_pushes_unacked_total",
        "Pushes whose connection was gone before they could be acknowledged.",
        &stats.unacked,
    );
    page.counter(
        "flowd_mesh_pushes_unreadable_total",
        "Pushes of EventMesh without the event, which it could not write.",
        &stats.unreadable,
    );
}

fn applied(page: &mut Page, stats: &SinkStats) {
    for (name, help, counter) in [
        ("received", "Events that arrived, members of batches each.", &stats.received),
        ("applied", "Events that the target has, or whose dead letter is written.", &stats.applied),
        ("duplicates", "Events that came again.", &stats.duplicates),
        ("outdated", "Events of an epoch or a snapshot's run that is over.", &stats.outdated),
        ("missing", "Numbers that did not come and were passed over.", &stats.missing),
        ("late", "Events that came after they were passed over, and were rejected.", &stats.late),
        ("dropped", "Events that found the buffer full and will be sent again.", &stats.dropped),
        ("puts", "Transactions of the target.", &stats.puts),
        ("deferred", "Events that the target refused for a while.", &stats.deferred),
    ] {
        page.counter(&format!("flowd_sink_{name}_total"), help, counter);
    }
    page.gauge("flowd_sink_waiting", "Events that wait for others before them.", &stats.waiting);
    page.gauge("flowd_sink_waiting_bytes", "Bytes that these hold.", &stats.waiting_bytes);
}
