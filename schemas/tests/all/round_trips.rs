//! What is written reads back as what it was, in bytes too: the hash chain needs that.

use gatewright_schemas::{Digest, Timestamp, canonical};
use proptest::prelude::*;
use serde_json::Value;

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 50, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(any::<String>(), inner, 0..6)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn a_value_read_from_its_canonical_encoding_has_the_same_digest(value in json()) {
        let text = canonical::encode(&value);
        let again: Value = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(&canonical::encode(&again), &text);
        prop_assert_eq!(Digest::of(&again), Digest::of(&value));
        let pretty: Value = serde_json::from_str(&format!("{value:#}")).unwrap();
        prop_assert_eq!(Digest::of(&pretty), Digest::of(&value));
    }

    #[test]
    fn times_sort_as_their_texts_do(a in any::<i64>(), b in any::<i64>()) {
        let (a, b) = (Timestamp::from_micros(a), Timestamp::from_micros(b));
        prop_assert_eq!(a.to_string().parse(), Ok(a));
        prop_assert_eq!(a.cmp(&b), a.to_string().cmp(&b.to_string()));
    }

    #[test]
    fn any_text_is_a_time_or_is_refused(text in ".{0,40}") {
        let _ = text.parse::<Timestamp>();
    }
}

#[test]
fn a_digest_reads_back_only_as_what_it_is() {
    let digest = Digest::of(&Value::Null);
    let text = serde_json::to_string(&digest).unwrap();
    assert_eq!(serde_json::from_str::<Digest>(&text).unwrap(), digest);
    for odd in ["", "abc", &"A".repeat(64), &"g".repeat(64), &"a".repeat(65)] {
        let text = serde_json::to_string(odd).unwrap();
        assert!(serde_json::from_str::<Digest>(&text).is_err(), "{odd:?}");
    }
}
