//! The guide `docs/writing-a-connector.md`: the code that it shows is this code, and it works.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use flowd_codec::event::Framing;
use flowd_engine::checkpoint::MemoryRegistry;
use flowd_engine::failure::Failure;
use flowd_engine::pipeline::{Outcome, Pipeline, Settings as Sizes};
use flowd_engine::reject::OnReject;
use flowd_engine::setting::Settings;
use flowd_engine::start::start;
use flowd_engine::stop::Stop;
use flowd_engine::worker::{Source, Target};
use flowd_mesh::subscribe::stats::Stats;
use flowd_mesh::{MeshConfig, MeshSource, MeshTarget};
use flowd_sink::deliver::event::encoder;
use flowd_sink::deliver::target::DeliverTarget;
use flowd_sink::deliver::{self, Opened};
use flowd_source::message_source::MessageSource;
use flowd_source::{Context, Subject};

use crate::harness::{Mesh, until};

#[path = "../guide/sink.rs"]
mod sink;
#[path = "../guide/source.rs"]
mod source;

/// Runs a pipeline as `flowd` does, on a thread, until it is stopped.
fn run<S: Source>(
    mut source: S,
    mut target: Box<dyn Target<S::Event>>,
    on_reject: OnReject,
    stop: &Stop,
) -> JoinHandle<Result<Outcome, Failure>> {
    let stop = stop.clone();
    std::thread::spawn(move || {
        let registry = Box::<MemoryRegistry>::default();
        let start_max = std::time::Duration::from_secs(10);
        let begin = start(&mut source, target.as_mut(), registry.as_ref(), start_max, &stop)?;
        let begin = begin.expect("nobody stops it at its start");
        let settings = Sizes { on_reject, ..Sizes::default() };
        let metrics = Arc::default();
        Pipeline { source, target, registry, begin, settings, sequence: None, metrics, stop }.run()
    })
}

fn group(mesh: &Mesh, name: &str) -> MeshConfig {
    MeshConfig { addresses: vec![mesh.address()], group: name.to_owned(), ..MeshConfig::default() }
}

fn spool_source(mesh: &Mesh, directory: &Path, stop: &Stop) -> JoinHandle<Result<Outcome, Failure>> {
    let context = Context {
        connector_name: "in".to_owned(),
        source: "/flowd/spool-source/in".to_owned(),
        subject: Subject::parse("files", source::CONNECTOR.fields).unwrap(),
        event_bytes_max: 1 << 20,
        stop: stop.clone(),
    };
    let given = [("directory", directory.to_str().unwrap())];
    let settings = Settings::of("in", source::CONNECTOR.settings, &given).unwrap();
    let opened = (source::CONNECTOR.open)(&settings, context).unwrap();
    let source = MessageSource::new(opened, Framing::EventMesh, "/flowd/spool-source/in".to_owned());
    let target = MeshTarget::new(group(mesh, "in"), Arc::default());
    run(source, Box::new(target), OnReject::Stop, stop)
}

fn spool_sink(
    mesh: &Mesh,
    directory: &Path,
    dead_letters: &Path,
    stop: &Stop,
) -> JoinHandle<Result<Outcome, Failure>> {
    let context = deliver::Context { connector_name: "out".to_owned(), buffer_bytes: 1 << 20 };
    let given = [("directory", directory.to_str().unwrap())];
    let settings = Settings::of("out", sink::CONNECTOR.settings, &given).unwrap();
    let Ok(Opened::Events(sink)) = (sink::CONNECTOR.open)(&settings, &context) else {
        panic!("a sink of events")
    };
    let topics = vec!["files".to_owned()];
    let stats = Arc::<Stats>::default();
    let source = MeshSource::new(group(mesh, "out"), topics, stats.clone(), encoder);
    let on_reject = OnReject::DeadLetter(dead_letters.to_owned());
    let thread = run(source, Box::new(DeliverTarget::new(sink, Arc::default())), on_reject, stop);
    // What was published before its group was there is not for it.
    until("the sink listens", || (stats.connected.value() == 1).then_some(()));
    thread
}

#[test]
fn files_go_through_the_guides_source_and_sink() {
    let mesh = Mesh::start();
    let directory = tempfile::tempdir().unwrap();
    let [spool, out, dead] = ["spool", "out", "dead.jsonl"].map(|name| directory.path().join(name));
    fs::create_dir(&spool).unwrap();
    fs::create_dir(&out).unwrap();
    let stop = Stop::new();
    let running = [spool_sink(&mesh, &out, &dead, &stop), spool_source(&mesh, &spool, &stop)];
    let put = |name: &str, content: &str| {
        fs::write(directory.path().join("new"), content).unwrap();
        fs::rename(directory.path().join("new"), spool.join(name)).unwrap();
    };
    put("1 is no file name of the sink's", "refused");
    put("2", "hello");
    put("3.json", r#"{"a":1}"#);
    let found = |name: &str| fs::read_to_string(out.join(format!("files.{name}"))).ok();
    let event = |name: &str| {
        let read = || found(name).and_then(|text| serde_json::from_str::<serde_json::Value>(&text).ok());
        until("the file of an event", read)
    };
    assert_eq!(event("2")["data"], "hello");
    assert_eq!(event("3.json")["data"], serde_json::json!({"a": 1}));
    // A put's refusals are written down after its last event is delivered.
    let letter =
        until("the dead letter", || fs::read_to_string(&dead).ok().filter(|text| text.ends_with('\n')));
    assert!(letter.contains("its id can be no file name") && letter.contains("refused"), "{letter}");
    stop.request();
    for thread in running {
        assert_eq!(thread.join().unwrap(), Ok(Outcome::Stopped));
    }
}

#[test]
fn the_guide_shows_the_code_that_is_tested() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let guide = fs::read_to_string(root.join("docs/writing-a-connector.md")).unwrap();
    for name in ["source", "sink"] {
        let code = fs::read_to_string(root.join(format!("tests/guide/{name}.rs"))).unwrap();
        assert!(
            guide.contains(&format!("```rust\n{code}```\n")),
            "tests/guide/{name}.rs is not as the guide shows it"
        );
        let is_code = |line: &&str| !line.trim().is_empty() && !line.trim().starts_with("//");
        assert!(code.lines().filter(is_code).count() < 60, "tests/guide/{name}.rs is too long for a guide");
    }
}
