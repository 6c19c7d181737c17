//! Reading a message that anybody may have sent: limits first, then shape, then meaning; every violation is told.

mod tell;

use std::sync::LazyLock;

use jsonschema::{Draft, ValidationOptions, Validator};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{CommandMessage, RuntimeActor, Submission, Timestamp, Violation, submission::limit};

/// At most this many violations are told of one message.
const MAX_VIOLATIONS: usize = 50;

/// Why a message is refused: every violation, at least one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", in_a_sentence(.0))]
pub struct Invalid(pub Vec<Violation>);

impl Invalid {
    fn whole(message: impl Into<String>) -> Self {
        Self(vec![Violation::new("", message)])
    }
}

fn in_a_sentence(violations: &[Violation]) -> String {
    let parts: Vec<String> = violations
        .iter()
        .map(|v| {
            if v.pointer.is_empty() {
                v.message.clone()
            } else {
                format!("{}: {}", v.pointer, v.message)
            }
        })
        .collect();
    parts.join("; ")
}

/// Reads a submission.
pub fn submission(bytes: &[u8]) -> Result<Submission, Invalid> {
    static SCHEMA: LazyLock<Option<Validator>> = LazyLock::new(schema::<Submission>);
    let submission: Submission = read(bytes, SCHEMA.as_ref())?;
    let mut violations = Vec::new();
    if submission
        .run_id
        .as_ref()
        .is_some_and(crate::RunId::is_reserved)
    {
        violations.push(Violation::new(
            "/run_id",
            "names that begin with `_` are the fleet's own",
        ));
    }
    let runtime = &submission.input.runtime;
    if runtime.steps.is_some() && runtime.egress.is_some() {
        violations.push(Violation::new(
            "/input/runtime",
            "give `steps` or `egress`, not both",
        ));
    }
    if runtime.actor == RuntimeActor::External {
        let is_planned = runtime.steps.is_some() || runtime.egress.is_some();
        if is_planned {
            let message = "leave out `steps` and `egress`: an external actor asks for its calls one at a time";
            violations.push(Violation::new("/input/runtime", message));
        }
        if submission.not_before.is_some() {
            let message =
                "leave it out: the run of an external actor starts when that asks for something";
            violations.push(Violation::new("/not_before", message));
        }
    }
    if let (Some(from), Some(until)) = (submission.not_before, submission.deadline)
        && until <= from
    {
        violations.push(Violation::new(
            "/deadline",
            "must be later than `not_before`",
        ));
    }
    for (s, step) in runtime.steps.iter().flatten().enumerate() {
        for (c, call) in step.tool_calls.iter().enumerate() {
            if call.tool.trim().is_empty() {
                violations.push(Violation::new(
                    format!("/input/runtime/steps/{s}/tool_calls/{c}/tool"),
                    "must name a tool",
                ));
            }
        }
    }
    violations.truncate(MAX_VIOLATIONS);
    if violations.is_empty() {
        Ok(submission)
    } else {
        Err(Invalid(violations))
    }
}

/// Reads a command.
pub fn command(bytes: &[u8]) -> Result<CommandMessage, Invalid> {
    static SCHEMA: LazyLock<Option<Validator>> = LazyLock::new(schema::<CommandMessage>);
    read(bytes, SCHEMA.as_ref())
}

/// The schema of a message. A time in it is one that [`Timestamp`] reads.
fn schema<T: JsonSchema>() -> Option<Validator> {
    let schema = serde_json::to_value(schemars::schema_for!(T)).ok()?;
    options()
        .with_format("date-time", |text: &str| text.parse::<Timestamp>().is_ok())
        .build(&schema)
        .ok()
}

fn options<'a>() -> ValidationOptions<'a> {
    jsonschema::options()
        .with_draft(Draft::Draft202012)
        .should_validate_formats(true)
}

/// Compiles a JSON Schema (draft 2020-12). References leave the document only to fail: nothing is ever fetched.
pub fn compile(schema: &Value) -> Result<Validator, Invalid> {
    options()
        .build(schema)
        .map_err(|error| Invalid::whole(format!("not a usable JSON Schema: {error}")))
}

/// Every way in which `value` misses the schema; empty when it fits. What stands at a place is never quoted: it may be a secret.
pub fn violations(validator: &Validator, value: &Value) -> Vec<Violation> {
    validator
        .iter_errors(value)
        .flat_map(|error| tell::tell(&error))
        .take(MAX_VIOLATIONS)
        .collect()
}

/// Cut to 300 characters; control characters and those that turn the direction of text escaped:
/// the message may quote what the sender wrote.
fn printable(text: &str) -> String {
    let turns = |c| matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars()
        .take(300)
        .flat_map(|c| {
            if c.is_control() || turns(c) {
                c.escape_default().collect::<Vec<_>>()
            } else {
                vec![c]
            }
        })
        .collect()
}

fn read<T: DeserializeOwned>(bytes: &[u8], schema: Option<&Validator>) -> Result<T, Invalid> {
    if bytes.len() > limit::BYTES {
        return Err(Invalid::whole(format!(
            "the message has {} bytes; the limit is {}",
            bytes.len(),
            limit::BYTES
        )));
    }
    let value: Value = serde_json::from_slice(bytes)
        .map_err(|error| Invalid::whole(format!("not JSON: {error}")))?;
    if depth(&value, limit::DEPTH) > limit::DEPTH {
        return Err(Invalid::whole(format!(
            "nested deeper than {} levels",
            limit::DEPTH
        )));
    }
    // A schema that does not compile is a fault of this program; nothing is let through on its account.
    let Some(schema) = schema else {
        return Err(Invalid::whole("this version's own schema cannot be used"));
    };
    let violations = violations(schema, &value);
    if !violations.is_empty() {
        return Err(Invalid(violations));
    }
    serde_json::from_value(value).map_err(|error| Invalid::whole(printable(&error.to_string())))
}

/// Levels of nesting of `value`; stops counting beyond `most`.
fn depth(value: &Value, most: usize) -> usize {
    if most == 0 {
        return usize::from(value.is_array() || value.is_object());
    }
    let below = |children: &mut dyn Iterator<Item = &Value>| {
        1 + children
            .map(|child| depth(child, most - 1))
            .max()
            .unwrap_or(0)
    };
    match value {
        Value::Array(items) => below(&mut items.iter()),
        Value::Object(fields) => below(&mut fields.values()),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> Vec<(String, String)> {
        submission(text.as_bytes())
            .unwrap_err()
            .0
            .into_iter()
            .map(|v| (v.pointer, v.message))
            .collect()
    }

    #[test]
    fn an_empty_object_is_a_run() {
        assert!(submission(b"{}").is_ok());
    }

    #[test]
    fn every_violation_is_told_with_its_place() {
        let found = refused(
            r#"{"lane":"fast","run_id":"a.b","surprise":1,"input":{"runtime":{"steps":[{"tool_calls":[{"tool":3}]}]}}}"#,
        );
        let places: Vec<&str> = found.iter().map(|(pointer, _)| pointer.as_str()).collect();
        for place in [
            "/lane",
            "/run_id",
            "",
            "/input/runtime/steps/0/tool_calls/0/tool",
        ] {
            assert!(places.contains(&place), "{place} is missing in {found:?}");
        }
    }

    #[test]
    fn a_misspelt_constraint_is_never_ignored() {
        assert_eq!(
            refused(r#"{"input":{"runtime":{"polcy":{}}}}"#)[0].0,
            "/input/runtime"
        );
    }

    #[test]
    fn the_gates_own_field_may_hold_anything() {
        for policy in ["null", "3", "[]", r#"{"zone":"moon"}"#] {
            let text = format!(r#"{{"input":{{"runtime":{{"policy":{policy}}}}}}}"#);
            assert!(submission(text.as_bytes()).is_ok(), "{policy}");
        }
    }

    #[test]
    fn deep_large_and_broken_messages_are_refused() {
        let deep = format!(
            "{{\"input\":{{\"x\":{}1{}}}}}",
            "[".repeat(100),
            "]".repeat(100)
        );
        assert!(refused(&deep)[0].1.contains("deeper than 64"));
        let bottomless = "[".repeat(100_000);
        assert!(refused(&bottomless)[0].1.contains("not JSON"));
        let large = format!("{{\"title\":\"{}\"}}", "x".repeat(limit::BYTES));
        assert!(refused(&large)[0].1.contains("limit is 262144"));
        assert!(refused("{")[0].1.contains("not JSON"));
    }

    #[test]
    fn content_is_told_apart_and_the_id_is_no_part_of_it() {
        let digest = |text: &str| submission(text.as_bytes()).unwrap().content_digest();
        assert_eq!(
            digest(r#"{"run_id":"a"}"#),
            digest(r#"{"lane":"background"}"#)
        );
        assert_ne!(digest("{}"), digest(r#"{"title":"x"}"#));
    }

    #[test]
    fn a_schema_that_refers_elsewhere_is_refused() {
        let schema = serde_json::json!({ "$ref": "http://127.0.0.1:1/x.json" });
        assert!(compile(&schema).is_err());
    }
}
