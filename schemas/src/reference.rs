//! References to secrets: what stands in a recorded submission, and in the inputs of its calls, where a secret stood.
//!
//! `{"$secret": "1"}` is the run's first secret. Where only a part of a text is secret, `shows` has the text without it:
//! `{"$secret": "2", "shows": "https://api.example.com/?page=2&api_key=REDACTED"}` stands for the whole URL.
//! The values are not in any event. Nobody but the fleet makes references: a submission that holds one is refused.

use serde_json::{Map, Value};

/// The key that makes an object a reference.
pub const KEY: &str = "$secret";
/// The key of what may be shown in its place.
pub const SHOWS: &str = "shows";

/// The reference to secret number `number` (from 1).
pub fn to(number: u32, shows: Option<Value>) -> Value {
    let mut fields = Map::new();
    fields.insert(KEY.to_owned(), Value::from(number.to_string()));
    if let Some(shows) = shows {
        fields.insert(SHOWS.to_owned(), shows);
    }
    Value::Object(fields)
}

/// The number of the secret that `value` refers to, if it is a reference.
pub fn number(value: &Value) -> Option<u32> {
    let fields = value.as_object()?;
    let text = fields.get(KEY)?.as_str()?;
    let is_whole = fields.len() == 1 || (fields.len() == 2 && fields.contains_key(SHOWS));
    let is_plain = text.len() <= 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    (is_whole && is_plain).then(|| text.parse().ok())?
}

/// The JSON pointers of every object in `value` that has the key of a reference.
pub fn places(value: &Value) -> Vec<String> {
    let mut places = Vec::new();
    seek(value, &mut String::new(), &mut places);
    places
}

fn seek(value: &Value, pointer: &mut String, places: &mut Vec<String>) {
    let end = pointer.len();
    match value {
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                pointer.push('/');
                pointer.push_str(&index.to_string());
                seek(item, pointer, places);
                pointer.truncate(end);
            }
        }
        Value::Object(fields) => {
            if fields.contains_key(KEY) {
                places.push(pointer.clone());
            }
            for (name, field) in fields {
                pointer.push('/');
                pointer.push_str(&name.replace('~', "~0").replace('/', "~1"));
                seek(field, pointer, places);
                pointer.truncate(end);
            }
        }
        _ => {}
    }
}

/// Whether any object in `value` has the key of a reference.
pub fn occur_in(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.iter().any(occur_in),
        Value::Object(fields) => fields.contains_key(KEY) || fields.values().any(occur_in),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_reference_reads_back() {
        assert_eq!(to(7, None), json!({ "$secret": "7" }));
        assert_eq!(number(&to(7, None)), Some(7));
        assert_eq!(number(&to(8, Some(json!("x")))), Some(8));
        for other in [
            json!({}),
            json!("7"),
            json!({ "$secret": 7 }),
            json!({ "$secret": "x" }),
            json!({ "$secret": "" }),
            json!({ "$secret": "1", "more": 1 }),
        ] {
            assert_eq!(number(&other), None, "{other}");
        }
    }

    #[test]
    fn references_are_found_wherever_they_stand() {
        let value = json!({ "a": [{ "$secret": 1 }], "b/c": { "d": { "$secret": "1" } }, "e": 2 });
        assert_eq!(places(&value), ["/a/0", "/b~1c/d"]);
        assert!(occur_in(&value));
        assert!(!occur_in(&json!([{ "secret": "$secret" }])));
    }
}
