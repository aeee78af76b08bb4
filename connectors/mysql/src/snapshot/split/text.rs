//! The middle between two texts or byte strings: what they have in common, and a character between those where they
//! part. The server's collation decides about the order; this only guesses well.

use super::target::Aim;

/// Bytes behind the common ones that are calculated with.
const WIDTH: usize = 8;
/// Unassigned or odd characters that are passed over in search of one that a collation gives a place of its own.
const PASSED_MAX: u32 = 64;

/// How a character set's bytes are read as characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Units {
    Utf8,
    /// Two bytes each, the most significant first.
    Big16,
    /// Two bytes each, the least significant first.
    Little16,
    /// Four bytes each, the most significant first.
    Big32,
    /// One byte each, or the first of several.
    Bytes,
}

/// Texts of a character set and collation; `None` where they are the same but for case.
pub(super) fn between(low: &[u8], high: &[u8], text: (&str, &str), aim: Aim) -> Option<Box<[u8]>> {
    let (charset, collation) = text;
    let units = Units::of(charset);
    // Most collations that tell cases apart still have the letters in one row.
    let folds = !collation.ends_with("_bin");
    let (low, high) = (units.read(low), units.read(high));
    let fold = |unit: u32| if folds { upper(unit) } else { unit };
    let same = |(from, to): &(&u32, &u32)| fold(**from) == fold(**to);
    let common = low.iter().zip(&high).take_while(same).count();
    // Where the lower one ends, a blank: most collations pad with them.
    let from = low.get(common).map_or(u32::from(b' '), |&unit| fold(unit));
    let to = fold(*high.get(common)?);
    let middle = match aim {
        Aim::Middle if from < to => to - (to - from) / 2,
        Aim::Middle | Aim::Boundary => to,
    };
    let middle = if folds { settled(middle, to) } else { middle };
    Some(units.write(&low[..common], middle))
}

/// ASCII letters as capitals: only these stand between the digits and what follows without a gap.
fn upper(unit: u32) -> u32 {
    u8::try_from(unit).map_or(unit, |byte| byte.to_ascii_uppercase().into())
}

/// The next letter or digit, at most `to`: collations sort other characters in front.
fn settled(middle: u32, to: u32) -> u32 {
    let is_settled = |unit: &u32| char::from_u32(*unit).is_some_and(char::is_alphanumeric);
    (middle..to).take(PASSED_MAX as usize).find(is_settled).unwrap_or(to)
}

impl Units {
    fn of(charset: &str) -> Self {
        match charset {
            "utf8mb4" | "utf8mb3" | "utf8" => Self::Utf8,
            "ucs2" | "utf16" => Self::Big16,
            "utf16le" => Self::Little16,
            "utf32" => Self::Big32,
            _ => Self::Bytes,
        }
    }

    fn read(self, bytes: &[u8]) -> Vec<u32> {
        match self {
            Self::Utf8 => String::from_utf8_lossy(bytes).chars().map(u32::from).collect(),
            Self::Big16 => pieces(bytes).map(|pair| u16::from_be_bytes(pair).into()).collect(),
            Self::Little16 => pieces(bytes).map(|pair| u16::from_le_bytes(pair).into()).collect(),
            Self::Big32 => pieces(bytes).map(u32::from_be_bytes).collect(),
            Self::Bytes => bytes.iter().map(|&byte| byte.into()).collect(),
        }
    }

    fn write(self, common: &[u32], last: u32) -> Box<[u8]> {
        // Between the planes' characters there are none.
        let last = if (0xD800..0xE000).contains(&last) && self != Self::Bytes { 0xE000 } else { last };
        let mut bytes = Vec::new();
        for &unit in common.iter().chain([&last]) {
            match self {
                Self::Utf8 => {
                    let character = char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER);
                    bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                }
                // Units of these widths: the upper bytes are zero.
                Self::Big16 => bytes.extend_from_slice(&unit.to_be_bytes()[2..]),
                Self::Little16 => bytes.extend_from_slice(&unit.to_le_bytes()[..2]),
                Self::Big32 => bytes.extend_from_slice(&unit.to_be_bytes()),
                Self::Bytes => bytes.push(unit.to_le_bytes()[0]),
            }
        }
        bytes.into()
    }
}

fn pieces<const SIZE: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; SIZE]> {
    bytes.chunks_exact(SIZE).filter_map(|piece| piece.try_into().ok())
}

/// Byte strings: above `low`, at most `high`, and no longer than the longer of the two.
pub(super) fn between_bytes(low: &[u8], high: &[u8]) -> Box<[u8]> {
    let common = low.iter().zip(high).take_while(|(from, to)| from == to).count();
    let number = |bytes: &[u8]| {
        let digits = bytes[common..].iter().copied().chain(std::iter::repeat(0)).take(WIDTH);
        digits.fold(0_u64, |number, byte| number << 8 | u64::from(byte))
    };
    let (from, to) = (number(low), number(high));
    if from >= to {
        return high.into();
    }
    let middle = (to - (to - from) / 2).to_be_bytes();
    let length = low.len().max(high.len()).min(common + WIDTH);
    let bytes = [&low[..common], &middle[..length - common]].concat();
    // Cut off, it may have fallen onto the low end.
    if *bytes > *low { bytes.into() } else { high.into() }
}

/// UUIDs as MariaDB sorts them: the last group first, those of version 6 and above as they are written.
pub(super) fn between_uuids(low: &[u8], high: &[u8]) -> Option<Box<[u8]>> {
    let (low, high) = (Uuid::parse(low)?, Uuid::parse(high)?);
    let is_plain = low.is_plain();
    let (from, to) = (low.sorted(is_plain), high.sorted(is_plain));
    let middle = between_bytes(&from, &to);
    // Behind the middle's own bytes those of the low end: its version and variant stay.
    let mut bytes = from;
    let changed = from.iter().zip(&to).take_while(|(from, to)| from == to).count() + 2;
    let changed = changed.min(16);
    bytes[..changed].copy_from_slice(middle.get(..changed)?);
    Some(Uuid::of_sorted(bytes, is_plain).text())
}

struct Uuid([u8; 16]);

/// Where each group begins and ends, in the order in which MariaDB compares them.
const SORTED: [(usize, usize); 5] = [(10, 16), (8, 10), (6, 8), (4, 6), (0, 4)];

impl Uuid {
    fn parse(text: &[u8]) -> Option<Self> {
        let digits = text.iter().filter(|&&byte| byte != b'-');
        let digits: Vec<u8> =
            digits.map(|&byte| Some(char::from(byte).to_digit(16)? as u8)).collect::<Option<_>>()?;
        let bytes: Vec<u8> = digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect();
        Some(Self(bytes.try_into().ok()?))
    }

    fn is_plain(&self) -> bool {
        self.0[6] >> 4 >= 6 && self.0[8] & 0x80 != 0
    }

    fn sorted(&self, is_plain: bool) -> [u8; 16] {
        if is_plain {
            return self.0;
        }
        let mut sorted = [0; 16];
        let mut at = 0;
        for (from, to) in SORTED {
            sorted[at..at + to - from].copy_from_slice(&self.0[from..to]);
            at += to - from;
        }
        sorted
    }

    fn of_sorted(sorted: [u8; 16], is_plain: bool) -> Self {
        if is_plain {
            return Self(sorted);
        }
        let mut bytes = [0; 16];
        let mut at = 0;
        for (from, to) in SORTED {
            bytes[from..to].copy_from_slice(&sorted[at..at + to - from]);
            at += to - from;
        }
        Self(bytes)
    }

    fn text(&self) -> Box<[u8]> {
        let mut text = String::new();
        for (index, byte) in self.0.iter().enumerate() {
            if [4, 6, 8, 10].contains(&index) {
                text.push('-');
            }
            text.push_str(&format!("{byte:02x}"));
        }
        text.into_bytes().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: (&str, &str), low: &[u8], high: &[u8], expected: Option<&[u8]>) {
        assert_eq!(between(low, high, text, Aim::Middle).as_deref(), expected, "{text:?} {low:?} {high:?}");
    }

    const FOLDING: (&str, &str) = ("utf8mb4", "utf8mb4_general_ci");
    const BINARY: (&str, &str) = ("utf8mb4", "utf8mb4_bin");

    #[test]
    fn a_middle_of_texts_parts_where_they_part() {
        check(FOLDING, b"user-1", b"user-9", Some(b"user-5"));
        check(FOLDING, b"a", b"y", Some(b"M"));
        check(FOLDING, b"apple", b"Zebra", Some(b"N"));
        check(BINARY, b"apple", b"zebra", Some(b"n"));
        // Neighbours: the boundary.
        check(BINARY, b"ab1", b"ac", Some(b"ac"));
    }

    #[test]
    fn texts_that_differ_by_case_alone_are_the_same_where_collations_fold() {
        check(FOLDING, b"abc", b"ABC", None);
        check(BINARY, b"ABC", b"abc", Some(b"Q"));
    }

    #[test]
    fn a_middle_is_a_letter_or_digit_where_collations_sort_signs_in_front() {
        check(FOLDING, b"9", b"B", Some(b"A"));
        check(BINARY, b"9", b"B", Some(b">"));
    }

    #[test]
    fn the_shorter_text_goes_on_with_blanks() {
        check(FOLDING, b"ab", b"abxy", Some(b"abA"));
        check(BINARY, b"", b"z", Some(b"M"));
    }

    #[test]
    fn the_boundary_is_where_the_high_ends_character_begins() {
        let boundary = between(b"Etude 1", b"etui 9", FOLDING, Aim::Boundary);
        assert_eq!(boundary.as_deref(), Some(&b"EtuI"[..]));
    }

    #[test]
    fn every_width_of_character_is_kept_whole() {
        let low = "日本".as_bytes();
        let middle = between(low, "日語".as_bytes(), BINARY, Aim::Middle).expect("a middle");
        assert_eq!(std::str::from_utf8(&middle).map(|text| text.chars().count()), Ok(2));
        check(("ucs2", "ucs2_bin"), &[0, b'a', 0, b'b'], &[0, b'a', 4, 0], Some(&[0, b'a', 2, 0x31]));
        check(("utf16le", "utf16le_bin"), &[b'a', 0], &[b'c', 0], Some(&[b'b', 0]));
        check(("utf32", "utf32_bin"), &[0, 0, 0, 1], &[0, 0, 0, 3], Some(&[0, 0, 0, 2]));
        check(("latin1", "latin1_bin"), &[0xC0], &[0xE0], Some(&[0xD0]));
        // No character of its own is in the middle of these.
        check(BINARY, "\u{D000}".as_bytes(), "\u{E800}".as_bytes(), Some("\u{E000}".as_bytes()));
    }

    #[test]
    fn a_middle_of_bytes_is_between_them_and_no_longer() {
        assert_eq!(*between_bytes(b"", &[0xff, 0xff]), [0x7f, 0xff]);
        assert_eq!(*between_bytes(&[1, 2, 3], &[1, 2, 5]), [1, 2, 4]);
        assert_eq!(*between_bytes(&[1, 2, 3], &[1, 2, 4]), [1, 2, 4]);
        assert_eq!(*between_bytes(&[1], &[1, 0]), [1, 0]);
        assert_eq!(*between_bytes(&[1, 0xff], &[2]), [2]);
        let (low, high) = ([7; 20], [9; 20]);
        let middle = between_bytes(&low, &high);
        assert!(low[..] < *middle && *middle < high[..] && middle.len() <= 20, "{middle:?}");
    }

    #[test]
    fn uuids_are_halved_in_the_order_that_mariadb_gives_them() {
        let random = |node: &str| format!("ffffffff-ffff-4fff-8fff-{node}").into_bytes();
        let middle = between_uuids(&random("100000000000"), &random("300000000000")).expect("a middle");
        assert_eq!(String::from_utf8_lossy(&middle), "ffffffff-ffff-4fff-8fff-200000000000");
        let timed = |time: &str| format!("{time}-0000-7fff-8fff-ffffffffffff").into_bytes();
        let middle = between_uuids(&timed("01000000"), &timed("03000000")).expect("a middle");
        assert_eq!(String::from_utf8_lossy(&middle), "02000000-0000-7fff-8fff-ffffffffffff");
        assert_eq!(between_uuids(b"no", b"yes"), None);
    }
}
