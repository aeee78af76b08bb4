//! COM_STMT_EXECUTE with its parameters (Protocol manual, "COM_STMT_EXECUTE").
//!
//! A key's bytes are almost what the server takes back; text is sent as binary, so that no character set stands between.

use flowd_binlog::result::{KeyKind, KeyValue};

use crate::error::WireError;

const COM_STMT_EXECUTE: u8 = 0x17;
/// Second byte of a type: the number has no sign.
const UNSIGNED: u8 = 0x80;

/// The command that runs statement `id`.
pub(super) fn execute(id: u32, parameters: &[KeyValue]) -> Result<Vec<u8>, WireError> {
    let mut command = vec![COM_STMT_EXECUTE];
    command.extend_from_slice(&id.to_le_bytes());
    command.push(0); // no cursor: rows come as they are read
    command.extend_from_slice(&1_u32.to_le_bytes()); // iterations, always 1
    if parameters.is_empty() {
        return Ok(command);
    }
    command.resize(command.len() + parameters.len().div_ceil(8), 0); // none is NULL
    command.push(1); // types follow
    for value in parameters {
        command.extend_from_slice(&wire_type(value.kind));
    }
    for (index, value) in parameters.iter().enumerate() {
        append(value, &mut command).ok_or_else(|| {
            let (number, size) = (index + 1, value.bytes.len());
            WireError::Refused(format!("parameter {number}: a value of {size} bytes is no {:?}", value.kind))
        })?;
    }
    Ok(command)
}

/// Type and flag of a parameter (Protocol manual, "Column Types").
fn wire_type(kind: KeyKind) -> [u8; 2] {
    match kind {
        KeyKind::Signed => [0x08, 0],
        KeyKind::Unsigned => [0x08, UNSIGNED],
        KeyKind::Float => [0x04, 0],
        KeyKind::Double => [0x05, 0],
        KeyKind::Decimal => [0xf6, 0],
        KeyKind::Date => [0x0a, 0],
        KeyKind::Time => [0x0b, 0],
        KeyKind::DateTime => [0x0c, 0],
        KeyKind::Text | KeyKind::Bytes => [0xfc, 0],
        KeyKind::Ascii => [0xfd, 0],
    }
}

/// `None` where the bytes are not of a length that the kind has: the server would take the next value's for them.
fn append(value: &KeyValue, command: &mut Vec<u8>) -> Option<()> {
    let bytes = &*value.bytes;
    let lengths: &[usize] = match value.kind {
        KeyKind::Signed | KeyKind::Unsigned | KeyKind::Double => &[8],
        KeyKind::Float => &[4],
        KeyKind::Date => &[0, 4],
        KeyKind::Time => &[0, 8, 12],
        KeyKind::DateTime => &[0, 4, 7, 11],
        KeyKind::Decimal | KeyKind::Text | KeyKind::Bytes | KeyKind::Ascii => {
            append_length(bytes.len(), command);
            command.extend_from_slice(bytes);
            return Some(());
        }
    };
    if !lengths.contains(&bytes.len()) {
        return None;
    }
    if lengths.len() > 1 {
        command.push(u8::try_from(bytes.len()).expect("12 at most"));
    }
    command.extend_from_slice(bytes);
    Some(())
}

/// A length-encoded integer.
fn append_length(length: usize, command: &mut Vec<u8>) {
    let bytes = (length as u64).to_le_bytes();
    let (mark, width) = match length {
        0..=250 => return command.push(bytes[0]),
        251..=0xffff => (0xfc, 2),
        0x1_0000..=0xff_ffff => (0xfd, 3),
        _ => (0xfe, 8),
    };
    command.push(mark);
    command.extend_from_slice(&bytes[..width]);
}
