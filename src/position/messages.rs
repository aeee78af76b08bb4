//! How far a source of messages had come at its last checkpoint, in the words of its connector.

use std::fmt::Write;

use flowd_engine::checkpoint::Checkpoint;
use flowd_engine::record::Position;
use flowd_source::Progress;
use serde_json::json;

use super::rfc3339;
use crate::config::Messages;
use crate::exit::Ending;

pub(super) fn of_source(messages: &Messages, json: bool) -> Result<(), Ending> {
    let name = messages.settings.connector_name();
    let Progress::Registry(describe) = messages.connector.progress else {
        let text = "keeps no record; the system that it reads remembers what is acknowledged";
        return crate::answer(&match json {
            true => format!("{}\n", json!({"connector": name, "time": null, "acked": null})),
            false => format!("{name}: {text}\n"),
        });
    };
    let directory = &messages.outward.offset_storage.offset_storage_addr;
    let stored = flowd_registry::read_checkpoint(directory, &messages.registry_key())?;
    let checkpoint = stored.as_ref().map(|stored| &stored.checkpoint);
    crate::answer(&match json {
        true => as_json(name, checkpoint, describe),
        false => as_text(name, checkpoint, describe),
    })
}

fn rows(checkpoint: &Checkpoint) -> [(&'static str, &Position); 3] {
    [("read", &checkpoint.read), ("emitted", &checkpoint.emitted), ("acked", &checkpoint.acked)]
}

fn as_text(name: &str, checkpoint: Option<&Checkpoint>, describe: fn(&Position) -> String) -> String {
    let Some(checkpoint) = checkpoint else { return format!("{name}: nothing stored yet\n") };
    let mut out = format!("{name} as of {}\n", rfc3339(checkpoint.time_us));
    for (which, position) in rows(checkpoint) {
        writeln!(out, "{which:<8} {}", describe(position)).expect("a string takes everything");
    }
    out
}

fn as_json(name: &str, checkpoint: Option<&Checkpoint>, describe: fn(&Position) -> String) -> String {
    let mut report = json!({"connector": name, "time": null, "read": null, "emitted": null, "acked": null});
    if let Some(checkpoint) = checkpoint {
        report["time"] = rfc3339(checkpoint.time_us).into();
        for (which, position) in rows(checkpoint) {
            report[which] = describe(position).into();
        }
    }
    format!("{report}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_told_in_the_words_of_its_connector() {
        let position = |text: &'static [u8]| Position(bytes::Bytes::from_static(text));
        let describe = |position: &Position| format!("at {}", String::from_utf8_lossy(&position.0));
        let checkpoint = Checkpoint {
            read: position(b"9"),
            emitted: position(b"8"),
            acked: position(b"7"),
            ..Checkpoint::default()
        };
        let text = as_text("in", Some(&checkpoint), describe);
        assert!(text.starts_with("in as of 1970") && text.ends_with("acked    at 7\n"), "{text}");
        let json: serde_json::Value =
            serde_json::from_str(&as_json("in", Some(&checkpoint), describe)).expect("JSON");
        assert_eq!((&json["read"], &json["acked"]), (&json!("at 9"), &json!("at 7")));
        assert!(as_text("in", None, describe).contains("nothing stored yet"));
    }
}
