//! The canonical encoding: one JSON value, one sequence of bytes.
//!
//! Keys in byte order, no white space, integers in full, other numbers as the shortest text that reads back the same.
//! Digests of inputs, definitions and documents, and the events' hash chain, are SHA-256 over this encoding.
//! Unlike RFC 8785 it keeps integers beyond 2^53 apart: two inputs that differ only there must not share an approval.

use data_encoding::HEXLOWER;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// SHA-256 over a canonical encoding, in lower-case hexadecimal (64 characters).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
pub struct Digest(#[schemars(regex(pattern = r"^[0-9a-f]{64}$"))] String);

impl Digest {
    /// The digest of bytes that are canonical already.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self(HEXLOWER.encode(&Sha256::digest(bytes)))
    }

    /// The digest of a JSON value.
    pub fn of(value: &Value) -> Self {
        Self::of_bytes(encode(value).as_bytes())
    }

    /// The digest as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        let is_hex = |b| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        if text.len() == 64 && text.bytes().all(is_hex) {
            Ok(Self(text))
        } else {
            let message = "not a digest: it must be 64 lower-case hexadecimal digits";
            Err(serde::de::Error::custom(message))
        }
    }
}

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// The canonical encoding of `value`.
///
/// `serde_json` keeps object keys in a sorted map; the test `keys_are_in_byte_order` fails should a dependency ever switch that off.
pub fn encode(value: &Value) -> String {
    value.to_string()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_are_in_byte_order() {
        let value: Value = serde_json::from_str(r#"{"b":1,"a":{"z":1,"Z":2},"é":3}"#).unwrap();
        assert_eq!(encode(&value), r#"{"a":{"Z":2,"z":1},"b":1,"é":3}"#);
    }

    #[test]
    fn large_integers_stay_apart() {
        assert_ne!(
            Digest::of(&json!(9_007_199_254_740_993_u64)),
            Digest::of(&json!(9_007_199_254_740_992_u64))
        );
    }

    proptest! {
        #[test]
        fn numbers_read_back_as_the_same_text(number in any::<f64>().prop_filter("JSON has no such number", |n| n.is_finite())) {
            let text = encode(&json!(number));
            prop_assert_eq!(encode(&serde_json::from_str(&text).unwrap()), text);
        }
    }
}
