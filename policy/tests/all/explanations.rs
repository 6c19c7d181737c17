//! `policy explain`: every check with its result.

use gatewright_policy::{CheckResult, QuotaAnswer, explain_egress, explain_tool_call};
use gatewright_schemas::ReasonCode;
use serde_json::json;

use crate::world::{call, grant, now, request_of, snapshot, token, with_input};

#[test]
fn every_check_is_shown_with_its_result() {
    let snapshot = snapshot("require_approval = ['fetch']\nlimits = { each_tool_daily = 1 }");
    let call = with_input(
        call("fetch", &json!({})),
        &json!({ "url": "https://example.com" }),
    );
    let grant = grant(&call, &[ReasonCode::ToolRequiresApproval]);
    let explained = explain_tool_call(
        &call,
        &snapshot,
        Some(&grant),
        &QuotaAnswer::NotNeeded,
        now(),
    );
    let shown: Vec<String> = explained
        .checks
        .iter()
        .map(|check| {
            let code = check
                .finding
                .as_ref()
                .map_or("", |finding| finding.reason_code.as_str());
            format!(
                "{} {} {:?} {code} {}",
                check.number, check.check, check.result, check.settled
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            "1 context Passed  false",
            "2 snapshot Passed  false",
            "3 kill_switch Passed  false",
            "4 agent NotApplicable  false",
            "5 quarantine NotApplicable  false",
            "6 capability_token NotApplicable  false",
            "7 capability_scope NotApplicable  false",
            "8 action NotApplicable  false",
            "9 sandbox NotApplicable  false",
            "10 domain RequiresApproval domain_not_allowlisted false",
            "11 external_write NotApplicable  false",
            "12 tool_list RequiresApproval tool_requires_approval true",
            "13 quota Passed  false",
        ]
    );
    assert_eq!(
        explained.decision.reason_code,
        ReasonCode::DomainNotAllowlisted
    );
    assert_eq!(
        explained.quota.map(|quota| quota.name),
        Some("tool.fetch".to_owned())
    );
}

#[test]
fn a_request_to_the_outside_is_explained_too() {
    let mut snapshot = snapshot("default = 'allow'");
    snapshot.upsert_token(token("t1", "p1", crate::world::all_scopes()));
    let call = call("egress.request", &json!({ "capability_token_id": "t1" }));
    let request = request_of(&call, "POST", "https://example.com", "external.write");
    let explained = explain_egress(&request, &snapshot, None, &QuotaAnswer::NotNeeded, now());
    let result = |number: usize| explained.checks[number - 1].result;
    assert_eq!(result(7), CheckResult::Passed);
    assert_eq!(result(9), CheckResult::NotApplicable);
    assert_eq!(result(10), CheckResult::RequiresApproval);
    assert_eq!(result(12), CheckResult::NotApplicable);
    assert_eq!(
        explained.principal_id.as_ref().map(ToString::to_string),
        Some("p1".to_owned())
    );
}

#[test]
fn an_explanation_is_data() {
    let explained = explain_tool_call(
        &call("x", &json!(3)),
        &snapshot(""),
        None,
        &QuotaAnswer::NotNeeded,
        now(),
    );
    let data = serde_json::to_value(&explained).unwrap();
    assert_eq!(data["decision"]["reason_code"], "policy_context_invalid");
    assert_eq!(data["checks"][0]["result"], "denied");
    assert_eq!(data["checks"].as_array().map(Vec::len), Some(13));
}
