//! The members of an event in the form in which nearly all arrive: an object without white space between its members.
//!
//! A JSON parser has to expect anything behind each byte; this one steps from quote to quote, and leaves whatever is unusual
//! to the parser. And an event has nearly always the members of the one before it, in the same order, and most of their texts: a
//! member is compared with the one that stood there, and looked at only where it is another. What a server added behind them is
//! mostly the same as a whole.

use std::cell::Cell;

use super::name::Name;
use crate::json;

/// A place between two members. Every answer `None` means: read this text in another way.
///
/// Kept: no name comes twice, and each is one that an attribute may have. Memory: [`MEMBERS_MAX`](Self::MEMBERS_MAX) members and
/// a [`Tail`] for each thread that reads events.
pub(super) struct Members<'a> {
    json: &'a [u8],
    rest: &'a str,
    /// Bytes behind `rest`: the tail, which the event before had, too.
    cut: usize,
    /// Where the members begin that a server added and that stand in a row up to here: which member, and at which byte.
    added: Option<(usize, usize)>,
    /// The members up to here, and behind them those of the event before.
    known: Vec<Known>,
    /// Of the event before, as long as this one has its members.
    tail: Tail,
    at: usize,
    /// Of the member at hand.
    text: TextAhead,
}

/// What is known of a member's text before it is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TextAhead {
    Unknown,
    /// The member is seen here for the first time: its text is to be remembered.
    New,
    /// It is the text of the event before, and has so many bytes.
    Same(u8),
}

/// The end of an event whose last members are what a server added.
#[derive(Default)]
struct Tail {
    /// From the first of them to the closing bracket; empty where there is no such end.
    text: Vec<u8>,
    /// Which member is the first of them.
    at: usize,
}

thread_local! {
    /// The members of the event that this thread read last, and its tail.
    static BEFORE: Cell<(Vec<Known>, Tail)> = const { Cell::new((Vec::new(), Tail::NONE)) };
}

impl Tail {
    const NONE: Self = Self { text: Vec::new(), at: 0 };
    /// The most that is remembered.
    const SIZE_MAX: usize = 4096;

    /// What stands before the tail, if the event has it.
    fn cut<'a>(&self, json: &'a [u8]) -> Option<&'a [u8]> {
        if self.text.is_empty() { None } else { json.strip_suffix(&*self.text) }
    }

    /// Whether it is what comes behind so many members.
    fn stands_at(&self, at: usize) -> bool {
        self.at == at && !self.text.is_empty()
    }

    /// Takes the end of an event for the next.
    fn remember(&mut self, text: &[u8], at: usize) {
        if at > 0 && text.len() <= Self::SIZE_MAX {
            self.text.extend_from_slice(text);
            self.at = at;
        }
    }

    fn forget(&mut self) {
        self.text.clear();
    }
}

impl<'a> Members<'a> {
    /// The most that an event may have here.
    const MEMBERS_MAX: usize = 64;

    /// All of an event.
    pub(super) fn of(json: &'a [u8]) -> Option<Self> {
        Self::new(json, |_| None)
    }

    /// All of an event but what a server added; that is left out, or else comes as [`Name::Added`].
    pub(super) fn original(json: &'a [u8]) -> Option<Self> {
        Self::new(json, |tail| tail.cut(json))
    }

    fn new(json: &'a [u8], cut: impl FnOnce(&Tail) -> Option<&'a [u8]>) -> Option<Self> {
        let (known, tail) = BEFORE.take();
        let head = cut(&tail);
        let mut members = Self {
            json,
            rest: "",
            cut: head.map_or(0, |head| json.len() - head.len()),
            added: None,
            known,
            tail,
            at: 0,
            text: TextAhead::Unknown,
        };
        // Once for all: the pieces below are cut at ASCII characters.
        members.rest = simdutf8::basic::from_utf8(head.unwrap_or(json)).ok()?;
        Some(members)
    }

    /// What the next member is, and its name; its value is to be asked for then. `Some(None)` at the end of the text.
    #[inline]
    pub(super) fn next(&mut self) -> Option<Option<(Name, &'a str)>> {
        self.text = TextAhead::Unknown;
        let (name, size) = match self.known.get_mut(self.at) {
            Some(known) if known.is_whole(self.rest) => {
                self.text = TextAhead::Same(known.text_size());
                (known.name, known.lead_size)
            }
            Some(known) if known.begins(self.rest) => {
                // Whatever differs once mostly differs each time.
                known.forget_text();
                (known.name, known.lead_size)
            }
            _ => match self.is_at_end() {
                true => return Some(None),
                false => self.learn()?,
            },
        };
        self.added = match name {
            Name::Added => self.added.or(Some((self.at, self.offset()))),
            _ => None,
        };
        let (lead, rest) = self.rest.split_at(usize::from(size));
        self.rest = rest;
        self.at += 1;
        Some(Some((name, &lead[2..lead.len() - 2])))
    }

    /// Whether the text ends here. What a server added before its end is remembered.
    fn is_at_end(&mut self) -> bool {
        if self.cut > 0 {
            return self.rest.is_empty() && self.tail.stands_at(self.at);
        }
        let is_at_end = self.rest == "}" && self.at > 0;
        if is_at_end {
            self.tail.forget();
            if let Some((at, begin)) = self.added {
                self.tail.remember(&self.json[begin..], at);
            }
        }
        is_at_end
    }

    /// Takes back the tail, behind other members than it was.
    fn join_tail(&mut self) {
        if self.rest.is_empty() {
            let tail = &self.json[self.json.len() - std::mem::take(&mut self.cut)..];
            self.rest = std::str::from_utf8(tail).unwrap_or_default();
        }
    }

    /// Takes note of a name that the event before did not have here.
    #[cold]
    fn learn(&mut self) -> Option<(Name, u8)> {
        self.join_tail();
        self.tail.forget();
        self.known.truncate(self.at);
        let inside = self.rest.strip_prefix(if self.at == 0 { "{\"" } else { ",\"" })?;
        let text = &inside[..json::first_special(inside.as_bytes())?];
        inside[text.len()..].starts_with("\":").then_some(())?;
        let lead = &self.rest[..text.len() + 4];
        let known = Known::new(lead, Name::of(text)?)?;
        let is_new =
            self.known.len() < Self::MEMBERS_MAX && !self.known.iter().any(|other| other.is_of(text));
        is_new.then(|| self.known.push(known))?;
        self.text = TextAhead::New;
        Some((known.name, known.lead_size))
    }

    /// The byte at which this place is.
    pub(super) fn offset(&self) -> usize {
        self.json.len() - self.cut - self.rest.len()
    }

    /// A string without escapes. `None` leaves the place where it is.
    #[inline]
    pub(super) fn text(&mut self) -> Option<&'a str> {
        let rest = self.rest.strip_prefix('"')?;
        let size = match self.text {
            TextAhead::Same(size) => usize::from(size),
            TextAhead::Unknown | TextAhead::New => json::first_special(rest.as_bytes())?,
        };
        let (text, rest) = rest.split_at(size);
        self.rest = rest.strip_prefix('"')?;
        if self.text == TextAhead::New {
            self.known[self.at - 1].remember_text(text);
        }
        Some(text)
    }

    /// The inside of a string; its escapes are whole and of one letter. `None` leaves the place where it is.
    pub(super) fn escaped_text(&mut self) -> Option<&'a str> {
        let rest = self.rest.strip_prefix('"')?;
        let (text, rest) = rest.split_at(string_end(rest.as_bytes())?);
        self.rest = &rest[1..];
        Some(text)
    }

    /// The text of any value, checked.
    #[inline]
    pub(super) fn value(&mut self) -> Option<&'a str> {
        let (value, rest) = self.rest.split_at(json::value_end(self.rest)?);
        self.rest = rest;
        Some(value)
    }
}

impl Drop for Members<'_> {
    fn drop(&mut self) {
        BEFORE.set((std::mem::take(&mut self.known), std::mem::take(&mut self.tail)));
    }
}

/// A member: `,"name":`, or with a bracket in the comma's place, and its text where that was the same so far.
#[derive(Clone, Copy)]
struct Known {
    bytes: [u8; Known::SIZE],
    lead_size: u8,
    /// With the text and its quotes; 0 without.
    whole_size: u8,
    name: Name,
}

impl Known {
    /// Room for the name and a text of together 58 characters.
    const SIZE: usize = 64;
    /// Room for a name of 28 characters; the longest of EventMesh's own has 24, and the specification advises 20 at most.
    const LEAD_SIZE: usize = 32;

    fn new(lead: &str, name: Name) -> Option<Self> {
        let mut known =
            Self { bytes: [0; Self::SIZE], lead_size: lead.len().try_into().ok()?, whole_size: 0, name };
        known.bytes.get_mut(..Self::LEAD_SIZE)?.get_mut(..lead.len())?.copy_from_slice(lead.as_bytes());
        Some(known)
    }

    /// Whether a text begins with the name.
    #[inline]
    fn begins(&self, text: &str) -> bool {
        is_prefix::<{ Self::LEAD_SIZE }>(&self.bytes, self.lead_size, text)
    }

    /// Whether a text begins with name and text.
    #[inline]
    fn is_whole(&self, text: &str) -> bool {
        self.whole_size > 0 && is_prefix::<{ Self::SIZE }>(&self.bytes, self.whole_size, text)
    }

    fn text_size(&self) -> u8 {
        self.whole_size - self.lead_size - 2
    }

    fn forget_text(&mut self) {
        self.whole_size = 0;
    }

    /// Where there is room for it.
    fn remember_text(&mut self, text: &str) {
        let begin = usize::from(self.lead_size);
        if let Some([quote, room @ .., other]) = self.bytes.get_mut(begin..begin + text.len() + 2) {
            (*quote, *other) = (b'"', b'"');
            room.copy_from_slice(text.as_bytes());
            self.whole_size = (begin + text.len() + 2) as u8;
        }
    }

    fn is_of(&self, name: &str) -> bool {
        self.bytes[2..usize::from(self.lead_size) - 2] == *name.as_bytes()
    }
}

/// Whether a text begins with the first `size` bytes, at most `MAX`. As many are compared at once, and those that do not count
/// masked out: a comparison of as many as count would be a call.
#[inline]
fn is_prefix<const MAX: usize>(bytes: &[u8; Known::SIZE], size: u8, text: &str) -> bool {
    let size = usize::from(size);
    match text.as_bytes().first_chunk::<MAX>() {
        Some(chunk) => {
            let differs = |index: usize| (chunk[index] ^ bytes[index]) & MASKS[size][index];
            (0..MAX).fold(0, |all, index| all | differs(index)) == 0
        }
        None => text.as_bytes().starts_with(&bytes[..size]),
    }
}

/// For each size the bytes that count.
static MASKS: [[u8; Known::SIZE]; Known::SIZE + 1] = {
    let mut masks = [[0; Known::SIZE]; Known::SIZE + 1];
    let mut size = 1;
    while size <= Known::SIZE {
        masks[size] = masks[size - 1];
        masks[size][size - 1] = u8::MAX;
        size += 1;
    }
    masks
};

/// Where a string ends whose inside begins here: the place of its quote. `None` for control characters, and for escapes that
/// are not of one letter.
pub(super) fn string_end(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += json::first_special(&text[at..])?;
        match (text[at], text.get(at + 1)) {
            (b'"', _) => return Some(at),
            (b'\\', Some(letter)) if json::is_short_escape(*letter) => at += 2,
            _ => return None,
        }
    }
}
