//! W3C trace context: which trace somebody's work belongs to, as the headers `traceparent` and `tracestate` say it.
//!
//! Both come from strangers. What is not spelt as the recommendation says is no trace context at all, and what is read is written
//! anew: nothing of the text that came in is kept but lower-case digits and, in a `tracestate`, printable ASCII of a bounded length.

use std::{borrow::Cow, fmt, sync::Arc};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// Bytes of a `traceparent` of version 00.
const LENGTH: usize = 55;
/// Bytes of a `tracestate` at most.
pub const MAX_STATE: usize = 512;
/// Members of a `tracestate` at most.
const MAX_MEMBERS: usize = 32;
const PATTERN: &str = "^00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]$";
const STATE_PATTERN: &str = "^[ -~]+$";

/// A place in a trace: the trace, the span that is the parent of what comes next, and whether that span was recorded.
///
/// Neither id is all zeros.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceParent {
    trace_id: [u8; 16],
    parent_id: [u8; 8],
    sampled: bool,
}

impl TraceParent {
    /// The place below the span `parent_id` of the trace `trace_id`; none when one of them is all zeros.
    pub fn new(trace_id: [u8; 16], parent_id: [u8; 8], sampled: bool) -> Option<Self> {
        (trace_id != [0; 16] && parent_id != [0; 8]).then_some(Self {
            trace_id,
            parent_id,
            sampled,
        })
    }

    /// Reads a header's value; none when it is no `traceparent`.
    ///
    /// Of a version that does not exist yet what version 00 has is read, as the recommendation wants it.
    pub fn read(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let head: &[u8; LENGTH] = bytes.first_chunk()?;
        let version = digits::<1>(head.get(..2)?)?;
        let is_as_long_as_it_says = match version {
            [0] => bytes.len() == LENGTH,
            [0xff] => false,
            _ => matches!(bytes.get(LENGTH), None | Some(b'-')),
        };
        let is_divided = [2, 35, 52].iter().all(|at| head.get(*at) == Some(&b'-'));
        if !is_as_long_as_it_says || !is_divided {
            return None;
        }
        let [flags] = digits::<1>(head.get(53..)?)?;
        Self::new(
            digits(head.get(3..35)?)?,
            digits(head.get(36..52)?)?,
            flags & 1 == 1,
        )
    }

    /// The trace.
    pub fn trace_id(&self) -> [u8; 16] {
        self.trace_id
    }

    /// The span that is the parent.
    pub fn parent_id(&self) -> [u8; 8] {
        self.parent_id
    }

    /// Whether that span was recorded by whoever made it.
    pub fn sampled(&self) -> bool {
        self.sampled
    }
}

/// Lower-case hexadecimal digits, two for each byte.
fn digits<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    let (pairs, []) = text.as_chunks::<2>() else {
        return None;
    };
    if pairs.len() != N {
        return None;
    }
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = (value(*high)? << 4) | value(*low)?;
    }
    Some(bytes)
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let trace_id = u128::from_be_bytes(self.trace_id);
        let parent_id = u64::from_be_bytes(self.parent_id);
        let flags = u8::from(self.sampled);
        write!(f, "00-{trace_id:032x}-{parent_id:016x}-{flags:02x}")
    }
}

impl fmt::Debug for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

impl Serialize for TraceParent {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TraceParent {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(d)?;
        Self::read(&text).ok_or_else(|| D::Error::custom("this is no W3C traceparent"))
    }
}

impl JsonSchema for TraceParent {
    fn schema_name() -> Cow<'static, str> {
        "TraceParent".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": PATTERN, "maxLength": LENGTH })
    }
}

/// What the tracing systems on the way say to each other: handed on as it is, and never read.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct TraceState(Arc<str>);

impl TraceState {
    /// Reads a header's value; none when it is no `tracestate`, is empty or is longer than [`MAX_STATE`].
    pub fn read(text: &str) -> Option<Self> {
        let text = text.trim_matches([' ', '\t']);
        if text.is_empty() || text.len() > MAX_STATE {
            return None;
        }
        let members: Vec<&str> = text
            .split(',')
            .map(|member| member.trim_matches([' ', '\t']))
            .filter(|member| !member.is_empty())
            .collect();
        let are_members = members.iter().all(|member| is_member(member));
        (are_members && (1..=MAX_MEMBERS).contains(&members.len()))
            .then(|| Self(members.join(",").into()))
    }

    /// It as the header has it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// `key=value`, the key of letters, digits and a few marks, the value of printable ASCII without comma and equals sign.
fn is_member(member: &str) -> bool {
    let Some((key, value)) = member.split_once('=') else {
        return false;
    };
    let is_of_key = |b: u8| {
        b.is_ascii_lowercase()
            || b.is_ascii_digit()
            || matches!(b, b'_' | b'-' | b'*' | b'/' | b'@')
    };
    let is_of_value = |b: u8| matches!(b, b' '..=b'~') && b != b',' && b != b'=';
    (1..=256).contains(&key.len())
        && key.bytes().all(is_of_key)
        && (1..=256).contains(&value.len())
        && value.bytes().all(is_of_value)
}

impl fmt::Debug for TraceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

impl Serialize for TraceState {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for TraceState {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(d)?;
        Self::read(&text).ok_or_else(|| D::Error::custom("this is no W3C tracestate"))
    }
}

impl JsonSchema for TraceState {
    fn schema_name() -> Cow<'static, str> {
        "TraceState".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": STATE_PATTERN, "maxLength": MAX_STATE })
    }
}

/// Where in somebody's trace the work belongs.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct TraceContext {
    /// The trace, and the span in it.
    pub traceparent: TraceParent,
    /// What goes with it, handed on unread.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracestate: Option<TraceState>,
}

impl TraceContext {
    /// The header of [`TraceContext::traceparent`].
    pub const TRACEPARENT: &str = "traceparent";
    /// The header of [`TraceContext::tracestate`].
    pub const TRACESTATE: &str = "tracestate";

    /// Reads both headers. Without a sound `traceparent` there is none; an unsound `tracestate` is left out.
    pub fn read(traceparent: &str, tracestate: Option<&str>) -> Option<Self> {
        Some(Self {
            traceparent: TraceParent::read(traceparent)?,
            tracestate: tracestate.and_then(TraceState::read),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIVEN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_traceparent_is_read_and_written() {
        let read = TraceParent::read(GIVEN).unwrap();
        assert!(read.sampled());
        assert_eq!(
            read.parent_id(),
            0x00f0_67aa_0ba9_02b7_u64.to_be_bytes(),
            "{read:?}"
        );
        assert_eq!(read.to_string(), GIVEN);
        let json = serde_json::to_string(&read).unwrap();
        assert_eq!(serde_json::from_str::<TraceParent>(&json).unwrap(), read);
    }

    #[test]
    fn of_a_later_version_and_unknown_flags_what_is_known_is_read() {
        for (later, means) in [
            (
                "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
                "01",
            ),
            (
                "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-the-future-will-be-like",
                "01",
            ),
            (
                "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-02",
                "00",
            ),
            (
                "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-ff",
                "01",
            ),
        ] {
            let read = TraceParent::read(later).unwrap().to_string();
            assert_eq!(
                read,
                format!("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-{means}")
            );
        }
    }

    #[test]
    fn what_is_no_traceparent_is_none() {
        for bad in [
            "",
            "00",
            "garbage\nINFO forged line",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e47366-00f067aa0ba902b7-01",
            "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01 ",
            " 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.more",
            "00-4bf92f3577b34da6a3ce929d0e0e473é-00f067aa0ba902b7-01",
        ] {
            assert_eq!(TraceParent::read(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_tracestate_is_bounded_and_printable() {
        let read = |text: &str| TraceState::read(text).map(|state| state.as_str().to_owned());
        assert_eq!(
            read(" congo=t61rcWkgMzE , ,rojo=00f067aa0ba902b7\t").unwrap(),
            "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7"
        );
        let long = format!("k={}", "v".repeat(257));
        let many = vec!["k=v"; 33].join(",");
        let longer = ["key=0123456789012345678901234567890123456789"; 12].join(",");
        for bad in [
            "", " ", "novalue", "=v", "k=", "K=v", "k=a\nb", "k=é", "k=a=b", &long, &many, &longer,
        ] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn an_unsound_tracestate_does_not_take_the_trace_away() {
        let read = TraceContext::read(GIVEN, Some("no\u{1b}[31mstate")).unwrap();
        assert_eq!(read.tracestate, None);
        assert_eq!(TraceContext::read("no", Some("k=v")), None);
    }
}
