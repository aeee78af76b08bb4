//! A push and its acknowledgement, in the form that nearly all have: known by their text, without JSON.
//!
//! A subscriber meets both with every event, and so does a server.

use compact_str::CompactString;

use super::{Command, Header, Properties, SEQ_WIDTH, encode_parts, encode_with};

const PUSH_BEFORE_SEQ: &[u8] = br#"{"cmd":"ASYNC_MESSAGE_TO_CLIENT","code":0,"seq":""#;
const PUSH_AFTER_SEQ: &[u8] =
    br#"","properties":{"protocoltype":"cloudevents"},"command":"ASYNC_MESSAGE_TO_CLIENT"}"#;
const ACK_BEFORE_SEQ: &[u8] = br#"{"cmd":"ASYNC_MESSAGE_TO_CLIENT_ACK","code":0,"seq":""#;
const ACK_AFTER_SEQ: &[u8] = br#"","properties":{},"command":"ASYNC_MESSAGE_TO_CLIENT_ACK"}"#;

/// The acknowledgement of a push, kept until its event is dealt with: less than its [`Header`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushAck(Ack);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Ack {
    /// Of a push of an event to one subscriber.
    Counted(CountedSeq),
    /// Any other.
    Other { command: Command, seq: CompactString },
}

impl PushAck {
    /// Of a push with this command and seq; one without seq waits for no answer, and would ignore it.
    pub fn of(push: Command, seq: Option<CompactString>) -> Option<Self> {
        let (command, seq) = push.answer().zip(seq)?;
        let counted = CountedSeq::of(seq.as_bytes()).filter(|_| push == Command::AsyncMessageToClient);
        Some(Self(counted.map_or(Ack::Other { command, seq }, Ack::Counted)))
    }

    /// Appends its frame: the matching command with the same seq, without body.
    pub fn encode(self, out: &mut Vec<u8>) {
        match self.0 {
            Ack::Counted(seq) => {
                encode_with(|out| seq.write_between(ACK_BEFORE_SEQ, ACK_AFTER_SEQ, out), &[], out);
            }
            Ack::Other { command, seq } => encode_parts(&Header::request(command, seq), &[], out),
        }
    }
}

/// A push of an event in CloudEvents JSON, as the Java encoder writes its header. Its seq is all that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlainPush(CountedSeq);

impl PlainPush {
    /// Recognises its header.
    pub(super) fn read(json: &[u8]) -> Option<Self> {
        CountedSeq::of(json.strip_prefix(PUSH_BEFORE_SEQ)?.strip_suffix(PUSH_AFTER_SEQ)?).map(Self)
    }

    /// Its header.
    pub fn header(&self) -> Header {
        let request = Header::request(Command::AsyncMessageToClient, self.0.text());
        Header { properties: Properties::push(), ..request }
    }

    /// What acknowledges it.
    pub fn into_ack(self) -> PushAck {
        PushAck(Ack::Counted(self.0))
    }
}

/// Recognises the header of the acknowledgement of such a push, as our own and Java's encoder write it.
pub(super) fn plain_push_ack(json: &[u8]) -> Option<Header> {
    let seq = CountedSeq::of(json.strip_prefix(ACK_BEFORE_SEQ)?.strip_suffix(ACK_AFTER_SEQ)?)?;
    Some(Header::request(Command::AsyncMessageToClientAck, seq.text()))
}

/// The seq of a push: a server counts, or sends numbers of ours on. Digits, at most [`SEQ_WIDTH`] and at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
struct CountedSeq {
    /// Zeros behind it.
    digits: [u8; SEQ_WIDTH],
    size: u8,
}

impl CountedSeq {
    #[inline]
    fn of(seq: &[u8]) -> Option<Self> {
        let digits = <[u8; SEQ_WIDTH]>::try_from(seq).ok().or_else(|| padded(seq))?;
        // Without a way out in the middle: all of them are looked at at once.
        let are_digits = digits.iter().fold(true, |are, byte| are & byte.is_ascii_digit());
        are_digits.then_some(Self { digits, size: seq.len() as u8 })
    }

    fn bytes(&self) -> &[u8] {
        &self.digits[..usize::from(self.size)]
    }

    fn text(&self) -> &str {
        std::str::from_utf8(self.bytes()).expect("digits")
    }

    #[inline]
    fn write_between(&self, before: &[u8], after: &[u8], out: &mut Vec<u8>) {
        [before, self.bytes(), after].iter().for_each(|part| out.extend_from_slice(part));
    }
}

fn padded(seq: &[u8]) -> Option<[u8; SEQ_WIDTH]> {
    let mut digits = [b'0'; SEQ_WIDTH];
    digits.get_mut(..seq.len()).filter(|_| !seq.is_empty())?.copy_from_slice(seq);
    Some(digits)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::Frame;
    use super::super::tests::{decode_all, encoded};
    use super::*;

    fn push(seq: &str) -> Header {
        Header { properties: Properties::push(), ..Header::request(Command::AsyncMessageToClient, seq) }
    }

    fn ack(seq: &str) -> Header {
        Header::request(Command::AsyncMessageToClientAck, seq)
    }

    fn written(header: &Header) -> Vec<u8> {
        let mut bytes = Vec::new();
        header.write(&mut bytes);
        bytes
    }

    #[test]
    fn a_push_and_its_acknowledgement_are_read_alike_with_and_without_the_short_cuts() {
        for seq in ["1", "00000000000000000007", "0000000000000000000a", "a", "123456789012345678901", ""] {
            let mut written = Vec::new();
            let of = |command| PushAck::of(command, Some(seq.into())).expect("it has a seq");
            of(Command::AsyncMessageToClient).encode(&mut written);
            assert_eq!(written, encoded(&Frame::bare(ack(seq))));
            written.clear();
            of(Command::RequestToClient).encode(&mut written);
            let other = Header::request(Command::RequestToClientAck, seq);
            assert_eq!(written, encoded(&Frame::bare(other)));
            for header in [push(seq), ack(seq)] {
                let frame = Frame { header, body: Bytes::from_static(b"{}") };
                assert_eq!(decode_all(&encoded(&frame)), Ok(vec![frame]));
            }
        }
    }

    #[test]
    fn the_short_cuts_are_the_forms_of_the_encoder_with_a_seq_that_counts() {
        for (seq, is_counted) in [
            ("7", true),
            ("18446744073709551615", true),
            ("1844674407370955161a", false),
            ("-7", false),
            ("", false),
            ("000000000000000000000", false),
        ] {
            let plain = PlainPush::read(&written(&push(seq)));
            assert_eq!(plain.is_some(), is_counted, "{seq}");
            assert_eq!(plain_push_ack(&written(&ack(seq))), is_counted.then(|| ack(seq)));
            let Some(plain) = plain else { continue };
            assert_eq!(plain.header(), push(seq));
            assert_eq!(Some(plain.into_ack()), PushAck::of(Command::AsyncMessageToClient, Some(seq.into())));
        }
    }
}
