//! Character sets of MySQL and MariaDB: which one a collation id means, and how its bytes become UTF-8. A set is
//! listed only where our decoder gives the server's own mapping; anything else is no charset here, and the table plan
//! refuses the column. Decoding never guesses: bytes that mean nothing are an error or, if asked for, U+FFFD.

mod single;

use encoding_rs::{DecoderResult, Encoding};

/// What to do with bytes that are not valid in their character set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum InvalidText {
    /// Stop with an error that names table and column.
    #[default]
    Stop,
    /// Put U+FFFD in their place.
    Replace,
}

/// How the bytes of a text column are read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Charset {
    /// No text at all: bytes.
    Binary,
    /// utf8mb3 and utf8mb4.
    Utf8,
    /// 7 bits.
    Ascii,
    /// ASCII and a table of the upper half; latin1 too, which is windows-1252 with its five gaps as C1 controls.
    Single(&'static [u16; 128]),
    /// Two big-endian bytes a character, no surrogates.
    Ucs2,
    /// Big-endian UTF-16.
    Utf16,
    /// Little-endian UTF-16.
    Utf16Le,
    /// Four big-endian bytes a character.
    Utf32,
    /// As encoding_rs reads it: gbk, cp932 and euckr, whose every character was seen to be the server's. (big5, sjis,
    /// ujis, eucjpms, gb2312 and gb18030 differ from it in places.)
    Encoded(&'static Encoding),
}

/// Bytes that mean nothing in their character set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InvalidBytes;

/// The character set's name for a collation id of MySQL or MariaDB; none for an id that neither has.
pub fn charset_of_collation(id: u64) -> Option<&'static str> {
    let name = match id {
        1 | 84 => "big5",
        2 | 9 | 21 | 27 | 77 => "latin2",
        3 | 69 => "dec8",
        4 | 80 => "cp850",
        5 | 8 | 15 | 31 | 47..=49 | 94 => "latin1",
        6 | 72 => "hp8",
        7 | 74 => "koi8r",
        10 | 82 => "swe7",
        11 | 65 => "ascii",
        12 | 91 => "ujis",
        13 | 88 => "sjis",
        14 | 23 | 50..=52 => "cp1251",
        16 | 71 => "hebrew",
        18 | 89 => "tis620",
        19 | 85 => "euckr",
        20 | 41 | 42 | 79 => "latin7",
        22 | 75 => "koi8u",
        24 | 86 => "gb2312",
        25 | 70 => "greek",
        26 | 34 | 44 | 66 | 99 => "cp1250",
        28 | 87 => "gbk",
        29 | 58 | 59 => "cp1257",
        30 | 78 => "latin5",
        32 | 64 => "armscii8",
        33 | 76 | 83 | 192..=223 | 576..=607 | 2048..=2303 => "utf8mb3",
        35 | 90 | 128..=159 | 640..=671 | 2560..=2815 => "ucs2",
        36 | 68 => "cp866",
        37 | 73 => "keybcs2",
        38 | 43 => "macce",
        39 | 53 => "macroman",
        40 | 81 => "cp852",
        45 | 46 | 224..=247 | 255..=323 | 608..=639 | 2304..=2559 => "utf8mb4",
        54 | 55 | 101..=124 | 672..=703 | 2816..=3071 => "utf16",
        56 | 62 => "utf16le",
        57 | 67 => "cp1256",
        60 | 61 | 160..=183 | 736..=767 | 3072..=3327 => "utf32",
        63 => "binary",
        92 | 93 => "geostd8",
        95 | 96 => "cp932",
        97 | 98 => "eucjpms",
        248..=250 => "gb18030",
        // MariaDB's NO PAD twins stand 1024 above.
        1025..=1279 => return charset_of_collation(id - 1024),
        _ => return None,
    };
    Some(name)
}

impl Charset {
    /// The charset of that name; none where we have no exact decoder for it.
    pub fn from_name(name: &str) -> Option<Self> {
        let charset = match name {
            "binary" => Self::Binary,
            "utf8mb4" | "utf8mb3" | "utf8" => Self::Utf8,
            "ascii" => Self::Ascii,
            "ucs2" => Self::Ucs2,
            "utf16" => Self::Utf16,
            "utf16le" => Self::Utf16Le,
            "utf32" => Self::Utf32,
            "gbk" => Self::Encoded(encoding_rs::GBK),
            "cp932" => Self::Encoded(encoding_rs::SHIFT_JIS),
            "euckr" => Self::Encoded(encoding_rs::EUC_KR),
            _ => Self::Single(single::table(name)?),
        };
        Some(charset)
    }

    /// Whether the bytes 0x20–0x7E always stand for themselves.
    #[inline]
    pub(crate) fn keeps_ascii(self) -> bool {
        match self {
            Self::Utf8 | Self::Ascii | Self::Single(_) | Self::Encoded(_) => true,
            Self::Binary | Self::Ucs2 | Self::Utf16 | Self::Utf16Le | Self::Utf32 => false,
        }
    }

    /// Appends `bytes` as UTF-8 to `text`.
    pub(crate) fn decode(
        self,
        bytes: &[u8],
        text: &mut String,
        invalid: InvalidText,
    ) -> Result<(), InvalidBytes> {
        match self {
            Self::Utf8 | Self::Binary => utf8(bytes, text, invalid),
            Self::Ascii => {
                characters(text, invalid, bytes.iter().map(|&byte| byte.is_ascii().then_some(byte.into())))
            }
            Self::Single(high) => {
                characters(text, invalid, bytes.iter().map(|&byte| single_byte(high, byte)))
            }
            Self::Ucs2 => units(bytes, text, invalid, |unit| u16::from_be_bytes(unit).into()),
            Self::Utf32 => units(bytes, text, invalid, u32::from_be_bytes),
            Self::Utf16 => utf16(bytes, text, invalid, u16::from_be_bytes),
            Self::Utf16Le => utf16(bytes, text, invalid, u16::from_le_bytes),
            Self::Encoded(encoding) => encoded(encoding, bytes, text, invalid),
        }
    }
}

/// One byte of a single-byte set.
fn single_byte(high: &[u16; 128], byte: u8) -> Option<char> {
    match byte.checked_sub(0x80) {
        None => Some(char::from(byte)),
        Some(index) => char::from_u32(high[usize::from(index)].into()).filter(|&character| character != '\0'),
    }
}

/// Appends characters; none stands for one that is invalid.
fn characters(
    text: &mut String,
    invalid: InvalidText,
    characters: impl Iterator<Item = Option<char>>,
) -> Result<(), InvalidBytes> {
    for character in characters {
        match (character, invalid) {
            (Some(character), _) => text.push(character),
            (None, InvalidText::Replace) => text.push(char::REPLACEMENT_CHARACTER),
            (None, InvalidText::Stop) => return Err(InvalidBytes),
        }
    }
    Ok(())
}

fn utf8(bytes: &[u8], text: &mut String, invalid: InvalidText) -> Result<(), InvalidBytes> {
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        if !chunk.invalid().is_empty() {
            characters(text, invalid, std::iter::once(None))?;
        }
    }
    Ok(())
}

/// Fixed-width code points; a rest that fills no unit is invalid.
fn units<const WIDTH: usize>(
    bytes: &[u8],
    text: &mut String,
    invalid: InvalidText,
    read: impl Fn([u8; WIDTH]) -> u32,
) -> Result<(), InvalidBytes> {
    let (whole, rest) = bytes.as_chunks::<WIDTH>();
    let torn = (!rest.is_empty()).then_some(None);
    characters(text, invalid, whole.iter().map(|&unit| char::from_u32(read(unit))).chain(torn))
}

fn utf16(
    bytes: &[u8],
    text: &mut String,
    invalid: InvalidText,
    read: impl Fn([u8; 2]) -> u16,
) -> Result<(), InvalidBytes> {
    let (whole, rest) = bytes.as_chunks::<2>();
    let torn = (!rest.is_empty()).then_some(None);
    let decoded = char::decode_utf16(whole.iter().map(|&unit| read(unit))).map(Result::ok);
    characters(text, invalid, decoded.chain(torn))
}

fn encoded(
    encoding: &'static Encoding,
    bytes: &[u8],
    text: &mut String,
    invalid: InvalidText,
) -> Result<(), InvalidBytes> {
    let mut decoder = encoding.new_decoder_without_bom_handling();
    let mut rest = bytes;
    loop {
        text.reserve(decoder.max_utf8_buffer_length_without_replacement(rest.len()).unwrap_or(0));
        let (result, read) = decoder.decode_to_string_without_replacement(rest, text, true);
        rest = &rest[read..];
        match result {
            DecoderResult::InputEmpty => return Ok(()),
            DecoderResult::OutputFull => {}
            DecoderResult::Malformed(..) => characters(text, invalid, std::iter::once(None))?,
        }
    }
}
