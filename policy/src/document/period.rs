//! Spans of time as a document writes them: `500ms`, `30s`, `5m`, `24h`, `7d`.

use std::{borrow::Cow, fmt, str::FromStr, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A span of time from one millisecond to a year.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period(Duration);

/// Why a text is no span of time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "is not a span of time: write a whole number and its unit, such as `500ms`, `30s`, `5m`, `24h` or `7d`, at least 1ms and at most 366d"
)]
pub struct InvalidPeriod;

const UNITS: [(&str, u64); 5] = [
    ("ms", 1),
    ("s", 1000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];
const MAX_MILLIS: u64 = 366 * 86_400_000;

impl Period {
    /// So many seconds, held between one and a year's worth.
    pub fn from_secs(seconds: u64) -> Self {
        Self(Duration::from_millis(
            seconds.saturating_mul(1000).clamp(1000, MAX_MILLIS),
        ))
    }

    /// The span.
    pub fn duration(self) -> Duration {
        self.0
    }
}

impl From<Period> for Duration {
    fn from(period: Period) -> Self {
        period.0
    }
}

impl FromStr for Period {
    type Err = InvalidPeriod;

    fn from_str(text: &str) -> Result<Self, InvalidPeriod> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at_checked(digits).ok_or(InvalidPeriod)?;
        let (_, millis) = UNITS
            .iter()
            .find(|(name, _)| *name == unit)
            .ok_or(InvalidPeriod)?;
        let number: u64 = number.parse().map_err(|_| InvalidPeriod)?;
        let millis = number.checked_mul(*millis).ok_or(InvalidPeriod)?;
        if (1..=MAX_MILLIS).contains(&millis) {
            Ok(Self(Duration::from_millis(millis)))
        } else {
            Err(InvalidPeriod)
        }
    }
}

impl fmt::Display for Period {
    /// In the largest unit that it is a whole number of.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = u64::try_from(self.0.as_millis()).unwrap_or(MAX_MILLIS);
        let whole = UNITS
            .iter()
            .rev()
            .find(|(_, unit)| millis.is_multiple_of(*unit));
        let (name, unit) = whole.copied().unwrap_or(("ms", 1));
        write!(f, "{}{name}", millis / unit)
    }
}

impl Serialize for Period {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Cow::<'de, str>::deserialize(d)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Period {
    fn schema_name() -> Cow<'static, str> {
        "Period".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string", "format": "period", "maxLength": 30,
            "description": "A whole number and its unit: `500ms`, `30s`, `5m`, `24h`, `7d`."
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_and_written_in_their_largest_unit() {
        for (text, shown) in [
            ("500ms", "500ms"),
            ("1000ms", "1s"),
            ("90s", "90s"),
            ("60s", "1m"),
            ("24h", "1d"),
            ("366d", "366d"),
        ] {
            assert_eq!(text.parse::<Period>().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn what_is_no_span_is_refused() {
        for text in [
            "",
            "5",
            "s",
            "0s",
            "-1s",
            "1.5h",
            "5 m",
            "5M",
            "1w",
            "367d",
            "99999999999999999999s",
            "١s",
        ] {
            assert!(text.parse::<Period>().is_err(), "{text}");
        }
    }
}
