//! Secrets of a submission: taken out before anything is recorded of it.
//!
//! What is secret is told by the same marks by which workers redact events: by names, and by what the active policy adds.
//! Looked into are the inputs of the tool calls. What the submitter keeps beside `runtime` is read by nobody, so a secret in it is lost.
//! Ids, tools' names and `runtime.policy` are not looked into: they say what is to happen, and on whose authority.

use gatewright_policy::redact::{Marks, Parts, Vault, take_out};
use gatewright_run::plan::{self, EGRESS};
use gatewright_schemas::{Submission, Violation, reference};
use serde_json::Value;

/// Takes the secrets out of a submission. The vault is empty when it has none, and the submission is then as it was.
///
/// The short form `egress` is written out as the step that it stands for when it has secrets.
/// Errors: the submission holds references, which only the fleet makes; or more secrets than can be looked for.
pub fn take(
    mut submission: Submission,
    marks: &Marks,
) -> Result<(Submission, Vault), Vec<Violation>> {
    let violations = references_in(&submission);
    if !violations.is_empty() {
        return Err(violations);
    }
    let input = &mut submission.input;
    let runtime = &mut input.runtime;
    let mut egress = runtime.egress.as_ref().map(plan::egress_input);
    let mut beside = Value::Object(std::mem::take(&mut input.other));
    let mut parts = Parts {
        inputs: Vec::new(),
        beside: vec![&mut beside],
        texts: submission.title.iter_mut().collect(),
    };
    for step in runtime.steps.iter_mut().flatten() {
        parts.texts.extend(&mut step.title);
        let inputs = step.tool_calls.iter_mut().map(|call| &mut call.input);
        parts.inputs.extend(inputs);
    }
    parts.inputs.extend(&mut egress);
    let vault = take_out(parts, marks)
        .map_err(|error| vec![Violation::new("/input/runtime", error.to_string())])?;
    if let Value::Object(fields) = beside {
        input.other = fields;
    }
    if let Some(egress) = egress.filter(reference::occur_in) {
        runtime.egress = None;
        runtime.steps = Some(vec![plan::single(EGRESS, egress)]);
    }
    Ok((submission, vault))
}

/// The references in a value that stands at `place`, a JSON pointer: nobody but the fleet makes them.
pub(crate) fn references(value: &Value, place: impl FnOnce() -> String) -> Vec<Violation> {
    if !reference::occur_in(value) {
        return Vec::new();
    }
    let place = place();
    let below = reference::places(value).into_iter();
    let told = below.map(|below| {
        let message = "an object with the key `$secret` is a reference, which only the fleet makes";
        Violation::new(format!("{place}{below}"), message)
    });
    told.collect()
}

fn references_in(submission: &Submission) -> Vec<Violation> {
    let input = &submission.input;
    let runtime = &input.runtime;
    let steps = runtime.steps.iter().flatten().enumerate();
    let calls = steps.flat_map(|(s, step)| {
        let calls = step.tool_calls.iter().enumerate();
        calls.map(move |(c, call)| (s, c, &call.input))
    });
    let mut violations = Vec::new();
    for (s, c, value) in calls {
        let place = || format!("/input/runtime/steps/{s}/tool_calls/{c}/input");
        violations.extend(references(value, place));
    }
    if let Some(context) = runtime.egress.as_ref().and_then(|e| e.context.as_ref()) {
        violations.extend(references(context, || {
            "/input/runtime/egress/context".to_owned()
        }));
    }
    violations.extend(references(&runtime.policy, || {
        "/input/runtime/policy".to_owned()
    }));
    for (name, value) in &input.other {
        let token = name.replace('~', "~0").replace('/', "~1");
        violations.extend(references(value, || format!("/input/{token}")));
    }
    if input.other.contains_key(reference::KEY) {
        violations.push(Violation::new(
            "/input",
            "has the key `$secret` of a reference",
        ));
    }
    violations
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn submission(value: &Value) -> Submission {
        serde_json::from_value(value.clone()).unwrap()
    }

    fn taken(value: &Value) -> (Value, Vault) {
        let (taken, vault) = take(submission(value), &Marks::by_default()).unwrap();
        (serde_json::to_value(taken).unwrap(), vault)
    }

    #[test]
    fn a_submission_without_secrets_is_as_it_was() {
        let plain = submission(&json!({
            "title": "t", "input": { "note": { "a": 1 }, "runtime": { "egress": { "target_url": "http://x/?page=1" } } },
        }));
        let (taken, vault) = take(plain.clone(), &Marks::by_default()).unwrap();
        assert_eq!((taken, vault.is_empty()), (plain, true));
    }

    #[test]
    fn secrets_are_taken_wherever_they_stand() {
        let call = |input: Value| json!({ "tool": "egress.request", "input": input });
        let (taken, vault) = taken(&json!({
            "title": "with s3cr3t-one", "input": { "api_key": "s3cr3t-two", "runtime": { "steps": [
                { "title": "s3cr3t-one", "tool_calls": [
                    call(json!({ "target_url": "http://x/", "headers": { "Authorization": "Bearer s3cr3t-one" } })),
                    call(json!({ "target_url": "http://x/s3cr3t-two" })),
                ] },
            ] } },
        }));
        assert!(!taken.to_string().contains("s3cr3t"), "{taken}");
        let calls = &taken["input"]["runtime"]["steps"][0]["tool_calls"];
        assert_eq!(
            calls[0]["input"]["headers"]["Authorization"],
            json!({ "$secret": "1" })
        );
        assert_eq!(vault.len(), 2);
        let mut second = calls[1]["input"].clone();
        vault.restore(&mut second).unwrap();
        assert_eq!(second["target_url"], "http://x/s3cr3t-two");
    }

    #[test]
    fn the_short_form_is_written_out_when_it_has_secrets() {
        let (taken, vault) = taken(&json!({ "input": { "runtime": { "egress": {
            "target_url": "http://x/?api_key=s3cr3t", "method": "POST", "context": { "password": "s3cr3t" },
        } } } }));
        let runtime = &taken["input"]["runtime"];
        assert!(runtime.get("egress").is_none());
        let call = &runtime["steps"][0]["tool_calls"][0];
        assert_eq!(call["tool"], "egress.request");
        let mut input = call["input"].clone();
        vault.restore(&mut input).unwrap();
        let expected = json!({ "target_url": "http://x/?api_key=s3cr3t", "method": "POST", "context": { "password": "s3cr3t" } });
        assert_eq!(input, expected);
    }

    #[test]
    fn nobody_makes_references_but_the_fleet() {
        let reference = json!({ "$secret": "1" });
        let bad = submission(&json!({ "input": { "a": [reference], "runtime": {
            "policy": { "zone": reference },
            "steps": [{ "tool_calls": [{ "tool": "x", "input": { "b": { "$secret": 7, "c": reference } } }] }],
        } } }));
        let places: Vec<String> = take(bad, &Marks::default())
            .unwrap_err()
            .into_iter()
            .map(|violation| violation.pointer)
            .collect();
        let call = "/input/runtime/steps/0/tool_calls/0/input";
        let expected = [
            format!("{call}/b"),
            format!("{call}/b/c"),
            "/input/runtime/policy/zone".to_owned(),
            "/input/a/0".to_owned(),
        ];
        assert_eq!(places, expected);
    }
}
