//! What columns hold, read as the types they were written from.

use std::str::FromStr;

use serde::de::DeserializeOwned;

use crate::StoreError;

/// Rows are being read; named as the errors tell it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading(pub(crate) &'static str);

impl Reading {
    /// The column holds what this program never wrote there.
    pub(crate) fn unreadable(self, column: &'static str, value: &str) -> StoreError {
        StoreError::unreadable(self.0, column, value)
    }

    pub(crate) fn text<T: FromStr>(
        self,
        column: &'static str,
        text: &str,
    ) -> Result<T, StoreError> {
        text.parse().map_err(|_| self.unreadable(column, text))
    }

    pub(crate) fn optional<T: FromStr>(
        self,
        column: &'static str,
        text: Option<&str>,
    ) -> Result<Option<T>, StoreError> {
        text.map(|text| self.text(column, text)).transpose()
    }

    pub(crate) fn json<T: DeserializeOwned>(
        self,
        column: &'static str,
        text: &str,
    ) -> Result<T, StoreError> {
        serde_json::from_str(text).map_err(|_| self.unreadable(column, text))
    }

    pub(crate) fn optional_json<T: DeserializeOwned>(
        self,
        column: &'static str,
        text: Option<&str>,
    ) -> Result<Option<T>, StoreError> {
        text.map(|text| self.json(column, text)).transpose()
    }
}
