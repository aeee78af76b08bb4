//! Appending short texts. A copy whose length is only known at run time is a call into the C library; a copy of a fixed
//! size is two vector stores. So what is short is kept padded, appended whole and cut.

/// Bytes of a padded text.
pub(crate) const SHORT_MAX: usize = 32;

/// Appends the first `len` bytes of `padded`.
#[inline]
pub(crate) fn append(out: &mut Vec<u8>, padded: &[u8; SHORT_MAX], len: usize) {
    debug_assert!(len <= SHORT_MAX);
    let end = out.len() + len;
    out.extend_from_slice(padded);
    out.truncate(end);
}

/// A text that is written again and again, padded where it is short.
#[derive(Debug, Clone)]
pub(crate) struct Fixed {
    padded: [u8; SHORT_MAX],
    /// Length of the padded text; 0 where the text is long.
    len: u8,
    long: Box<[u8]>,
}

impl Fixed {
    /// Keeps `text`, which is not empty.
    pub(crate) fn new(text: Vec<u8>) -> Self {
        let mut padded = [0; SHORT_MAX];
        match padded.get_mut(..text.len()) {
            Some(short) => {
                short.copy_from_slice(&text);
                Self { padded, len: text.len() as u8, long: Box::default() }
            }
            None => Self { padded, len: 0, long: text.into() },
        }
    }

    /// Appends the text.
    #[inline]
    pub(crate) fn append(&self, out: &mut Vec<u8>) {
        if self.len != 0 {
            append(out, &self.padded, self.len.into());
        } else {
            out.extend_from_slice(&self.long);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_long_texts_are_appended_exactly() {
        for len in [1, 31, 32, 33, 100] {
            let text: Vec<u8> = (0..len).collect();
            let mut out = b"x".to_vec();
            Fixed::new(text.clone()).append(&mut out);
            assert_eq!(out[1..], text[..], "{len}");
        }
    }
}
