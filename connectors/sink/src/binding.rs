//! An event in a message with headers, by the two modes that the CloudEvents bindings of message queues have in common.
//!
//! What the headers are called and how they are written is the protocol's, and so the connector's. No I/O.

use std::borrow::Cow;

use flowd_codec::event::carried;
use flowd_codec::event::view::EventView;
use flowd_engine::setting::Settings;

/// How an event is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The attributes are headers, the body is the data.
    Binary,
    /// The body is the whole event.
    Structured,
}

impl Mode {
    /// What the setting `mode` says, a choice of `binary` and `structured`.
    pub fn of(settings: &Settings) -> Self {
        if settings.text("mode") == "structured" { Self::Structured } else { Self::Binary }
    }

    /// The body of the message of an event in the form that it had before EventMesh (see [`carried::restore`]); `None` for
    /// an event without data in binary mode.
    ///
    /// # Errors
    /// What the event says of its data and is not so.
    pub fn body<'a>(self, event: &EventView<'a>) -> Result<Option<Cow<'a, [u8]>>, String> {
        match self {
            Self::Binary => carried::payload(event).map_err(|error| error.to_string()),
            Self::Structured => {
                let mut body = Vec::new();
                event.write_json(&mut body);
                Ok(Some(Cow::Owned(body)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use flowd_engine::setting::{Kind, Preset, Setting};

    use super::*;

    #[test]
    fn the_body_is_the_data_or_the_whole_event_as_it_was() {
        let event = carried::restore(br#"{"specversion":"1.0","id":"1","source":"/a","type":"t","datacontenttype":"application/cloudevents+json","contenttype":"text/plain","data":"a"}"#).unwrap();
        assert_eq!(Mode::Binary.body(&event).unwrap().as_deref(), Some(b"a".as_slice()));
        let whole = r#"{"specversion":"1.0","id":"1","source":"/a","type":"t","datacontenttype":"text/plain","data":"a"}"#;
        assert_eq!(Mode::Structured.body(&event).unwrap().as_deref(), Some(whole.as_bytes()));
    }

    #[test]
    fn the_mode_is_what_the_setting_says() {
        const KNOWN: &[Setting] =
            &[Setting::new("mode", Kind::Choice(&["binary", "structured"]), Preset::Value("binary"), "how")];
        let of = |given| Mode::of(&Settings::of("out", KNOWN, given).unwrap());
        assert_eq!((of(&[]), of(&[("mode", "structured")])), (Mode::Binary, Mode::Structured));
    }
}
