//! Spans and moments as the command line has them.

use std::{str::FromStr, time::Duration};

use gatewright_bus::clock;
use gatewright_policy::document;
use gatewright_schemas::Timestamp;

/// A span such as `90s`, `15m`, `24h` or `7d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period(pub Duration);

impl FromStr for Period {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse::<document::Period>() {
            Ok(period) => Ok(Self(period.duration())),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// A moment: RFC 3339, or a span before now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Since(pub Timestamp);

impl FromStr for Since {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(period) = text.parse::<Period>() {
            let ago = i64::try_from(period.0.as_micros()).unwrap_or(i64::MAX);
            let now = clock::now().as_micros();
            return Ok(Self(Timestamp::from_micros(now.saturating_sub(ago))));
        }
        text.parse().map(Self).map_err(|_| {
            "neither a span such as 15m, 24h or 7d nor a time such as 2026-01-31T09:30:00Z".into()
        })
    }
}
