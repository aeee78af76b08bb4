//! BIT values: true and false for one bit, else bytes in base64, the lowest first.

use flowd_sink::image::Value;
use flowd_sink::rows::value::{base64, is_no};

/// Writes zeros and ones, the highest first; a `bit` is filled up to its width.
pub(super) fn bits(
    value: &Value<'_>,
    width: Option<usize>,
    fixed: bool,
    out: &mut Vec<u8>,
) -> Result<(), String> {
    let bytes = match value {
        Value::Bool(bit) => vec![u8::from(*bit)],
        Value::Number(text) => {
            let number: u64 = text.parse().map_err(|_| is_no(value, "bits"))?;
            number.to_le_bytes().to_vec()
        }
        _ => base64(value)?,
    };
    let digit = |bit: usize| b'0' + (bytes.get(bit / 8).copied().unwrap_or(0) >> (bit % 8) & 1);
    let held = 8 * bytes.len();
    let needed = (0..held).rev().find(|bit| digit(*bit) == b'1').map_or(0, |bit| bit + 1);
    let count = match (width, value) {
        (Some(width), _) if needed > width => {
            return Err(format!("a value of {needed} bits does not fit into {width}"));
        }
        (Some(width), _) if fixed => width,
        (_, Value::Bool(_)) => 1,
        (_, Value::Number(_)) => needed.max(1),
        (Some(width), _) => held.min(width),
        (None, _) => held,
    };
    out.extend((0..count).rev().map(digit));
    Ok(())
}
