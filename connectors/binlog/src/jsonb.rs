//! MySQL's binary JSON as the server's own text.

/// Appends the document as a JSON string.
pub(crate) fn write(_document: &[u8], _out: &mut Vec<u8>, _text: &mut Vec<u8>) -> Result<(), &'static str> {
    Err("a binary JSON document, which this version does not decode")
}
