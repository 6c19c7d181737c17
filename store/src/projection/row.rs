//! What tables have in common.

use gatewright_schemas::Digest;

use super::copy::{CopyBuffer, Row};

/// A table whose rows the projection writes.
pub(super) trait Table {
    /// `copy <table> (<columns>) from stdin (format binary)`.
    const COPY: &'static str;
    /// How many columns that names.
    const FIELDS: i16;

    /// Adds the fields, in the order of the columns.
    fn fields(&self, row: &mut Row<'_>);

    fn encode(&self, buffer: &mut CopyBuffer) {
        self.fields(&mut buffer.row(Self::FIELDS));
    }
}

/// The 32 bytes that a digest spells.
pub fn digest_bytes(digest: &Digest) -> Option<[u8; 32]> {
    let text = digest.as_str().as_bytes();
    let mut bytes = [0; 32];
    if text.len() != 64 {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        let &[high, low] = pair else { return None };
        *byte = nibble(high)? << 4 | nibble(low)?;
    }
    Some(bytes)
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_and_its_bytes_are_the_same() {
        let bytes = digest_bytes(&Digest::of_bytes(b"")).unwrap();
        assert_eq!(bytes[..4], [0xe3, 0xb0, 0xc4, 0x42]);
    }
}
