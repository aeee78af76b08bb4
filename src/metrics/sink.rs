//! The numbers that only a sink has.

use flowd_mesh::subscribe::stats::Stats;

use super::text::Page;

pub(super) fn render(page: &mut Page, subscriber: &Stats) {
    page.gauge("flowd_mesh_listening", "Connections that EventMesh pushes to.", &subscriber.connected);
    page.counter("flowd_mesh_pushes_total", "Events pushed by EventMesh.", &subscriber.pushes);
    page.counter("flowd_mesh_push_bytes_total", "Bytes of their JSON.", &subscriber.bytes);
    page.counter("flowd_mesh_pushes_acked_total", "Pushes acknowledged.", &subscriber.acked);
    page.gauge("flowd_mesh_pushes_in_hand", "Pushes that are not acknowledged yet.", &subscriber.in_hand);
    page.counter(
        "flowd_mesh_pushes_unacked_total",
        "Pushes whose connection was gone before they could be acknowledged.",
        &subscriber.unacked,
    );
    page.counter(
        "flowd_mesh_pushes_unreadable_total",
        "Pushes of EventMesh without the event, which it could not write.",
        &subscriber.unreadable,
    );
}
