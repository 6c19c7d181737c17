//! A validator's errors in words for the sender, each at the place that is wrong.

use jsonschema::{ValidationError, error::ValidationErrorKind};
use serde_json::Value;

use super::printable;
use crate::Violation;

/// What is wrong, without quoting the value: it may be a secret.
///
/// Of a choice between shapes the one that the sender meant is told, where that can be seen.
pub(super) fn tell(error: &ValidationError<'_>) -> Vec<Violation> {
    let (ValidationErrorKind::AnyOf { context } | ValidationErrorKind::OneOfNotValid { context }) =
        error.kind()
    else {
        let message = printable(&error.masked().to_string());
        return vec![Violation::new(error.instance_path().as_str(), message)];
    };
    let here = error.instance_path().as_str();
    if let Some((place, words)) = words(context) {
        let message = format!("must be one of {}", words.join(", "));
        return vec![Violation::new(place, printable(&message))];
    }
    let mut meant = context
        .iter()
        .filter(|errors| !errors.iter().any(|error| is_another_shape(error, here)));
    match (meant.next(), meant.next()) {
        (Some(errors), None) => errors.iter().flat_map(tell).collect(),
        _ => vec![Violation::new(
            here,
            "has none of the shapes that are known",
        )],
    }
}

/// Whether the error says that the value is something else altogether: of another type, or tagged with another word.
fn is_another_shape(error: &ValidationError<'_>, here: &str) -> bool {
    match error.kind() {
        ValidationErrorKind::Type { .. } => error.instance_path().as_str() == here,
        ValidationErrorKind::Constant { .. } => {
            let below = error.instance_path().as_str().strip_prefix(here);
            below.is_some_and(|below| below.matches('/').count() <= 1)
        }
        _ => false,
    }
}

/// The words of which one is expected, and where, when every shape expects one there and none has it.
fn words<'a>(context: &'a [Vec<ValidationError<'_>>]) -> Option<(&'a str, Vec<&'a str>)> {
    let mut place = None;
    let mut words = Vec::new();
    for errors in context {
        let (at, word) = errors.iter().find_map(|error| match error.kind() {
            ValidationErrorKind::Constant { expected_value } => match expected_value.as_ref() {
                Value::String(word) => Some((error.instance_path().as_str(), word.as_str())),
                _ => None,
            },
            _ => None,
        })?;
        if *place.get_or_insert(at) != at {
            return None;
        }
        words.push(word);
    }
    Some((place?, words))
}
