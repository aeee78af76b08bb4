//! The engine's numbers as Prometheus text, format 0.0.4. The names are a contract with dashboards.

use std::fmt::Write;
use std::sync::Arc;

use flowd_engine::metrics::{Counter, Gauge, Metrics, Snapshot, Stage};
use flowd_mesh::publish::stats::Stats;

use super::sink::{self, SinkNumbers};

/// The media type of the text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Whose numbers they are.
#[derive(Debug, Clone, Default)]
pub struct Numbers {
    /// Of the pipeline.
    pub pipeline: Arc<Metrics>,
    /// Of what is beside it.
    pub beside: Beside,
}

/// What counts beside the pipeline, by the direction.
#[derive(Debug, Clone)]
pub enum Beside {
    /// A source's target `mesh`; all 0 with another one.
    Publishing(Arc<Stats>),
    /// A sink, its subscriber and its announcer.
    Applying(SinkNumbers),
}

impl Default for Beside {
    fn default() -> Self {
        Self::Publishing(Arc::default())
    }
}

impl Numbers {
    /// Renders all of it. `now_us` is the wall clock, µs since 1970.
    pub fn render(&self, now_us: i64) -> String {
        let metrics = &*self.pipeline;
        let mut page = Page(String::with_capacity(4096));
        stages(&mut page, metrics);
        queues(&mut page, metrics);
        events(&mut page, metrics);
        match &self.beside {
            Beside::Publishing(mesh) => {
                lag(&mut page, metrics, now_us);
                source(&mut page, metrics);
                snapshot(&mut page, &metrics.snapshot);
                publishing(&mut page, mesh);
                reconnects(&mut page, [&metrics.source_reconnects, &mesh.reconnects]);
                checkpoints(&mut page, metrics, now_us);
            }
            Beside::Applying(numbers) => sink::render(&mut page, numbers),
        }
        build(&mut page);
        page.0
    }
}

fn build(page: &mut Page) {
    page.family("flowd_build_info", "gauge", "Always 1; the version is a label.");
    page.sample("flowd_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
}

fn stages(page: &mut Page, metrics: &Metrics) {
    let stages = [
        ("read", &metrics.read),
        ("encoded", &metrics.encoded),
        ("taken", &metrics.taken),
        ("emitted", &metrics.emitted),
        ("acked", &metrics.acked),
    ];
    let mut family = |name: &str, help: &str, value: fn(&Stage) -> u64| {
        page.family(name, "counter", help);
        for (stage, counts) in stages {
            page.sample(name, &[("stage", stage)], value(counts));
        }
    };
    family("flowd_rows_total", "Rows read, then events, that passed a stage.", |stage| stage.rows.value());
    family("flowd_bytes_total", "Bytes off the wire, then of events, that passed a stage.", |stage| {
        stage.bytes.value()
    });
    family("flowd_batches_total", "Batches or parcels that passed a stage.", |stage| stage.batches.value());
}

fn lag(page: &mut Page, metrics: &Metrics, now_us: i64) {
    let name = "flowd_lag_seconds";
    page.family(
        name,
        "gauge",
        "Age of the oldest change that is read and not acknowledged; 0 when there is none.",
    );
    page.sample(name, &[], seconds(metrics.lag_us(now_us)));
    let bytes = metrics.source_lag_bytes.value();
    if bytes >= 0 {
        let name = "flowd_lag_bytes";
        page.family(name, "gauge", "Bytes of the server's log that are not read yet.");
        page.sample(name, &[], bytes);
    }
}

fn queues(page: &mut Page, metrics: &Metrics) {
    let rings = [
        ("batches", metrics.batches_queued(), metrics.batches_queued_max.value()),
        ("parcels", metrics.parcels_queued(), metrics.parcels_queued_max.value()),
    ];
    page.family(
        "flowd_ring_occupancy",
        "gauge",
        "Entries in the rings before (batches) and after (parcels) the lanes.",
    );
    for (ring, queued, _) in rings {
        page.sample("flowd_ring_occupancy", &[("ring", ring)], queued);
    }
    page.family("flowd_ring_capacity", "gauge", "Entries that fit into these rings.");
    for (ring, _, capacity) in rings {
        page.sample("flowd_ring_capacity", &[("ring", ring)], capacity);
    }
    page.family("flowd_buffer_bytes", "gauge", "Bytes in buffers, of the share of pipeline.memory.");
    page.sample("flowd_buffer_bytes", &[("side", "source")], metrics.source_bytes.value());
    page.sample("flowd_buffer_bytes", &[("side", "target")], metrics.parcel_bytes.value());
    page.family("flowd_in_flight_events", "gauge", "Events with the target that are not acknowledged.");
    page.sample("flowd_in_flight_events", &[], metrics.in_flight());
}

fn events(page: &mut Page, metrics: &Metrics) {
    page.counter("flowd_acks_total", "Events acknowledged by the target.", &metrics.acked.rows);
    page.counter("flowd_rejects_total", "Events that the target can never take.", &metrics.rejects);
}

fn source(page: &mut Page, metrics: &Metrics) {
    page.counter("flowd_ddl_total", "DDL statements seen.", &metrics.ddl);
    page.counter("flowd_truncate_total", "TRUNCATE statements seen.", &metrics.truncate);
}

/// Of the source's side and the target's.
pub(super) fn reconnects(page: &mut Page, [source, target]: [&Counter; 2]) {
    page.family("flowd_reconnects_total", "counter", "Connections made anew.");
    page.sample("flowd_reconnects_total", &[("side", "source")], source.value());
    page.sample("flowd_reconnects_total", &[("side", "target")], target.value());
}

fn snapshot(page: &mut Page, snapshot: &Snapshot) {
    for (name, help, value) in [
        ("state", "Of the snapshot: 0 none, 1 running, 2 finished.", &snapshot.state),
        ("tables", "Tables that the snapshot covers.", &snapshot.tables),
        ("tables_done", "Tables of which every row is handed on.", &snapshot.tables_done),
        ("chunks", "Chunks handed on, those of earlier processes too.", &snapshot.chunks),
        ("rows", "Rows handed on, those of earlier processes too.", &snapshot.rows),
        ("bytes", "Bytes of these rows off the wire.", &snapshot.bytes),
        (
            "rows_estimated",
            "Rows that all tables hold by the server's own estimate; 0 while unknown.",
            &snapshot.rows_estimated,
        ),
        (
            "chunk_bytes",
            "Bytes of chunks that are being read or wait for their moment.",
            &snapshot.chunk_bytes,
        ),
        (
            "paused",
            "1 while reading rests because the source runs more threads than snapshotMaxRunning.",
            &snapshot.paused,
        ),
    ] {
        let name = format!("flowd_snapshot_{name}");
        page.family(&name, "gauge", help);
        page.sample(&name, &[], value.value());
    }
    let name = "flowd_snapshot_chunks_reread_total";
    page.family(name, "counter", "Chunks read and thrown away, because their table changed under them.");
    page.sample(name, &[], snapshot.chunks_reread.value());
}

fn publishing(page: &mut Page, mesh: &Stats) {
    page.counter("flowd_retries_total", "Sends repeated.", &mesh.resent);
    page.gauge("flowd_mesh_connections", "Connections to EventMesh that are greeted.", &mesh.connected);
    page.gauge("flowd_mesh_unanswered", "Publishes without answer.", &mesh.in_flight);
    page.counter(
        "flowd_mesh_refusals_total",
        "Publishes that EventMesh refused and that are tried again.",
        &mesh.refused,
    );
    page.counter("flowd_mesh_timeouts_total", "Publishes that were not answered in time.", &mesh.timed_out);
    page.gauge(
        "flowd_awaiting_applied",
        "Events that are published and not applied yet, with delivery: applied.",
        &mesh.awaiting,
    );
    page.counter(
        "flowd_resent_unapplied_total",
        "Events published again because they were not applied in time.",
        &mesh.resent_unapplied,
    );
    page.gauge("flowd_sinks_unheard", "Sinks of appliedBy that were never heard of.", &mesh.unheard);
}

fn checkpoints(page: &mut Page, metrics: &Metrics, now_us: i64) {
    page.family("flowd_checkpoints_total", "counter", "Checkpoints stored.");
    page.sample("flowd_checkpoints_total", &[], metrics.checkpoints.value());
    if let Some(age) = metrics.checkpoint_age_us(now_us) {
        page.family("flowd_checkpoint_age_seconds", "gauge", "Age of the last checkpoint.");
        page.sample("flowd_checkpoint_age_seconds", &[], seconds(age));
    }
    page.family("flowd_checkpoint_store_seconds", "gauge", "How long storing the last checkpoint took.");
    page.sample("flowd_checkpoint_store_seconds", &[], seconds(metrics.checkpoint_store_us.value()));
}

/// Exact in six digits, which a float of large µs would not be.
fn seconds(us: i64) -> String {
    let (sign, us) = if us < 0 { ("-", us.unsigned_abs()) } else { ("", us.unsigned_abs()) };
    format!("{sign}{}.{:06}", us / 1_000_000, us % 1_000_000)
}

/// A page under construction.
pub(super) struct Page(String);

impl Page {
    pub(super) fn counter(&mut self, name: &str, help: &str, counter: &Counter) {
        self.family(name, "counter", help);
        self.sample(name, &[], counter.value());
    }

    pub(super) fn gauge(&mut self, name: &str, help: &str, gauge: &Gauge) {
        self.family(name, "gauge", help);
        self.sample(name, &[], gauge.value());
    }

    fn family(&mut self, name: &str, kind: &str, help: &str) {
        writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}").expect("a string takes everything");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        self.0.push_str(name);
        for (index, (label, text)) in labels.iter().enumerate() {
            let open = if index == 0 { '{' } else { ',' };
            write!(self.0, "{open}{label}=\"{text}\"").expect("a string takes everything");
        }
        let close = if labels.is_empty() { "" } else { "}" };
        writeln!(self.0, "{close} {value}").expect("a string takes everything");
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn render(metrics: &Arc<Metrics>, now_us: i64) -> String {
        Numbers { pipeline: metrics.clone(), beside: Beside::default() }.render(now_us)
    }

    #[test]
    fn every_sample_has_its_help_and_type_and_nothing_is_said_twice() {
        let metrics = Arc::<Metrics>::default();
        metrics.read.add(3, 100);
        metrics.checkpoint_time_us.set(1);
        let page = render(&metrics, 2_500_001);
        assert!(page.contains("flowd_rows_total{stage=\"read\"} 3\n"), "{page}");
        assert!(page.contains("flowd_checkpoint_age_seconds 2.500000\n"), "{page}");
        let sink = Beside::Applying(SinkNumbers::default());
        for page in [page, Numbers { pipeline: metrics, beside: sink }.render(2_500_001)] {
            check_form(&page);
        }
    }

    fn check_form(page: &str) {
        let mut families = HashSet::new();
        let mut samples = HashSet::new();
        for line in page.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                assert!(families.insert(rest.split(' ').next().expect("a name")), "{line}");
            } else if !line.starts_with('#') {
                let (name, value) = line.rsplit_once(' ').expect("a value");
                assert!(value.parse::<f64>().is_ok(), "{line}");
                assert!(samples.insert(name), "{line}");
                assert!(families.contains(name.split('{').next().expect("a name")), "{line}");
                assert!(name.starts_with("flowd_"), "{line}");
            }
        }
    }

    #[test]
    fn a_snapshot_is_told_in_numbers_of_its_own() {
        let metrics = Arc::<Metrics>::default();
        let Snapshot { state, tables, tables_done, chunks, rows, bytes, rows_estimated, .. } =
            &metrics.snapshot;
        let gauges = [state, tables, tables_done, chunks, rows, bytes, rows_estimated];
        for (value, gauge) in (1..).zip(gauges) {
            gauge.set(value);
        }
        metrics.snapshot.chunks_reread.add(8);
        metrics.snapshot.chunk_bytes.set(9);
        metrics.snapshot.paused.set(1);
        let page = render(&metrics, 5);
        for sample in [
            "state 1",
            "tables 2",
            "tables_done 3",
            "chunks 4",
            "rows 5",
            "bytes 6",
            "rows_estimated 7",
            "chunks_reread_total 8",
            "chunk_bytes 9",
            "paused 1",
        ] {
            assert!(page.contains(&format!("\nflowd_snapshot_{sample}\n")), "{sample} in {page}");
        }
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let metrics = Arc::<Metrics>::default();
        metrics.source_lag_bytes.set(-1);
        let page = render(&metrics, 5);
        assert!(!page.contains("flowd_lag_bytes"), "{page}");
        assert!(!page.contains("flowd_checkpoint_age_seconds"), "{page}");
        metrics.source_lag_bytes.set(7);
        assert!(render(&metrics, 5).contains("flowd_lag_bytes 7\n"));
    }
}
