//! What the settings of delivery, lanes and batches promise together.

use super::*;

#[test]
fn delivery_and_its_sinks_are_checked_together() {
    for (text, expected) in [
        ("{delivery: applied}", "pipeline.appliedBy: is required with `pipeline.delivery: applied`"),
        ("{delivery: applied, appliedBy: []}", "pipeline.appliedBy: names no sink"),
        ("{appliedBy: [a]}", "pipeline.appliedBy: counts only with `pipeline.delivery: applied`"),
        ("{appliedTopic: t}", "pipeline.appliedTopic: counts only with `pipeline.delivery: applied`"),
        (
            "{delivery: applied, appliedBy: [a], target: stdout}",
            "pipeline.delivery: applied needs sinks behind EventMesh; write `pipeline.target: mesh`",
        ),
        (
            "{delivery: applied, appliedBy: [a], order: total}",
            "pipeline.order: total sends one event at a time, and applied waits for many; write `pipeline.order: key`",
        ),
        ("{delivery: applied, appliedBy: [a, b, a]}", "pipeline.appliedBy: names \"a\" twice"),
        ("{delivery: applied, appliedBy: [a/b]}", "pipeline.appliedBy: \"a/b\" is no connectorName"),
        (
            "{delivery: applied, appliedBy: [a], appliedTopic: 't/x'}",
            "pipeline.appliedTopic: \"t/x\" is not allowed; allowed: a topic of",
        ),
        (
            "{delivery: sometimes}",
            "pipeline.delivery: \"sometimes\" is not allowed; allowed: published, applied",
        ),
        ("{lanes: 65}", "pipeline.lanes: \"65\" is not allowed; allowed: a whole number from 1 to 64"),
    ] {
        let shown = problems(&format!("pipeline: {text}\n"));
        assert!(shown.starts_with(expected), "{text}: {shown}");
        assert_eq!(shown.lines().count(), 1, "{shown}");
    }
    let stream = |text: &str| config(&format!("pipeline: {text}\n")).source.stream;
    let applied = stream("{delivery: applied, appliedBy: [b, a], lanes: 8}");
    assert_eq!(applied.lanes, 8);
    let by = vec!["a".to_owned(), "b".to_owned()];
    assert_eq!(applied.applied, Some(Applied { by: by.clone(), topic: "flowd.applied.orders".to_owned() }));
    let named = stream("{delivery: applied, appliedBy: 'a, b', appliedTopic: told}");
    assert_eq!(named.applied, Some(Applied { by, topic: "told".to_owned() }));
    assert_eq!((stream("{}").applied, stream("{}").lanes), (None, 4));
}

#[test]
fn batches_are_off_until_their_size_is_given_in_any_of_the_three_places() {
    let batch = |loaded: Loaded| loaded.source.stream.batch;
    assert_eq!(batch(config("")), None);
    let expected = Some(Batching { bytes: 65_536, linger_ms: 20 });
    assert_eq!(batch(config("pipeline:\n  batch: {bytes: 64KiB, lingerMs: 20}\n")), expected);
    let variables = [("FLOWD_PIPELINE_BATCH_BYTES", "64KiB")];
    let flagged = load_text(REQUIRED, &variables, &["pipeline.batch.lingerMs=20"]).expect("valid");
    assert_eq!(batch(flagged), expected);
    assert_eq!(batch(config("pipeline: {batch: {bytes: 1MiB}}\n")).map(|batch| batch.linger_ms), Some(5));
    for (text, expected) in [
        ("{batch: 1MiB}", "pipeline.batch: is a mapping; write `batch: {bytes: …}`"),
        ("{batch: {byte: 1MiB}}", "pipeline.batch.byte: unknown key; did you mean `batch.bytes`?"),
        ("{batch: {lingerMs: 1}}", "pipeline.batch.lingerMs: counts only with `pipeline.batch.bytes`"),
        ("{batch: {bytes: 8}}", "pipeline.batch.bytes: \"8\" is not allowed; allowed: bytes, or"),
        ("{batch: {bytes: 1MiB}, target: drop}", "pipeline.batch.bytes: packs messages of EventMesh"),
    ] {
        let shown = problems(&format!("pipeline: {text}\n"));
        assert!(shown.starts_with(expected), "{text}: {shown}");
        assert!(shown.ends_with("(flowd.yaml line 5)"), "{shown}");
        assert_eq!(shown.lines().count(), 1, "{shown}");
    }
}
