//! Holes that other gates had, each shown to be closed here, as far as it is this crate's to close.

use gatewright_policy::{
    Grant, GrantState, PolicyContext, PolicyDocument, QuotaAnswer, Snapshot, approval,
    authorize_tool_call, document::Approvals, host::is_public_address,
};
use gatewright_schemas::{Decision, Digest, ReasonCode, Scopes};
use serde_json::json;

use crate::world::{
    agent, all_scopes, ask, ask_egress, at, call, child, code, grant, now, redirected, request_of,
    snapshot, token, with_input,
};

#[test]
fn an_error_never_becomes_allow() {
    let open = snapshot(
        "default = 'allow'\ndomains = { allow = ['*'] }\nlimits = { tools_daily = { counted = 1 } }",
    );
    // A URL that cannot be read.
    let unreadable = with_input(
        call("fetch", &json!({})),
        &json!({ "url": "https://exa mple.com" }),
    );
    assert_eq!(code(&unreadable, &open), ReasonCode::PolicyEvaluationError);
    // A counter that cannot be asked.
    let counted = call("counted", &json!({}));
    let answer = authorize_tool_call(&counted, &open, None, &QuotaAnswer::Unavailable, now());
    assert_eq!(
        answer.record().reason_code,
        ReasonCode::PolicyEvaluationError
    );
    assert!(answer.is_blocked());
    // A token whose line of descent is a circle.
    let mut circle = open.clone();
    circle.upsert_token(child("t1", "t2", "p1", all_scopes()));
    circle.upsert_token(child("t2", "t1", "p1", all_scopes()));
    let circular = call("fetch", &json!({ "capability_token_id": "t1" }));
    assert_eq!(code(&circular, &circle), ReasonCode::PolicyEvaluationError);
    // No policy, no context, nothing.
    let nothing = call("fetch", &json!([]));
    assert!(ask(&nothing, &Snapshot::new(), None).is_blocked());
}

#[test]
fn a_deny_rule_is_not_skipped_when_an_attribute_is_missing() {
    let mut fleet = snapshot("default = 'allow'\nkill_switches = { zones = ['sandbox'] }");
    // The zone is missing: it is the one that an absent zone means.
    assert_eq!(
        code(&call("t", &json!({})), &fleet),
        ReasonCode::KillSwitchActive
    );
    // The room is missing: a token that is bound to rooms does not cover the call.
    fleet = snapshot("default = 'allow'");
    let scopes = Scopes {
        rooms: vec!["lobby".into()],
        ..all_scopes()
    };
    fleet.upsert_token(token("t1", "p1", scopes));
    let mut roomless = call("t", &json!({ "capability_token_id": "t1" }));
    roomless.room_id = None;
    assert_eq!(
        code(&roomless, &fleet),
        ReasonCode::CapabilityScopeRoomNotAllowed
    );
    // The principal is missing: the token's holder is it, quarantine and all.
    fleet.upsert_principal(crate::world::quarantined(agent("p1", "bot")));
    assert_eq!(
        code(&call("t", &json!({ "capability_token_id": "t1" })), &fleet),
        ReasonCode::AgentQuarantined
    );
    // The actor's type is missing beside its id: the context is refused.
    assert!(PolicyContext::parse(&json!({ "actor_id": "bot" })).is_err());
}

#[test]
fn an_empty_list_means_nothing_and_never_everything() {
    let document =
        PolicyDocument::parse("auto_allow = []\n[domains]\nallow = []\nallow_writes = []").unwrap();
    assert_eq!(document, PolicyDocument::default());
    assert_eq!(
        code(&call("t", &json!({})), &snapshot("auto_allow = []")),
        ReasonCode::DefaultDeny
    );
    let mut fleet = snapshot("default = 'allow'");
    fleet.upsert_token(token("t1", "p1", Scopes::default()));
    let with_token = call("t", &json!({ "capability_token_id": "t1" }));
    assert_eq!(
        code(&with_token, &fleet),
        ReasonCode::CapabilityScopeToolRequired
    );
    let with_host = with_input(call("t", &json!({})), &json!("https://example.com"));
    assert_eq!(code(&with_host, &fleet), ReasonCode::DomainNotAllowlisted);
}

#[test]
fn nothing_that_the_model_states_lifts_the_sandbox() {
    let open = snapshot("default = 'allow'");
    for (stated, decision) in [
        ("require_escalated", Decision::RequireApproval),
        ("danger_full_access", Decision::Deny),
        ("USE_DEFAULT", Decision::Deny),
        ("use_default ", Decision::Deny),
    ] {
        let mut asking = call("t", &json!({}));
        asking.sandbox_permissions = Some(stated.into());
        assert_eq!(
            ask(&asking, &open, None).record().decision,
            decision,
            "{stated}"
        );
    }
}

#[test]
fn nothing_that_the_model_states_makes_a_write_a_read() {
    let open = snapshot(
        "default = 'allow'\ndomains = { allow = ['*'] }\nactions = [{ type = 'internal.read', reversible = true }]",
    );
    let egress = call("egress.request", &json!({}));
    for method in [
        "POST", "PUT", "PATCH", "DELETE", "CONNECT", "TRACE", "get", "GET ", "", "ANYTHING",
    ] {
        let request = request_of(&egress, method, "https://example.com", "internal.read");
        let answer = ask_egress(&request, &open, None);
        assert_eq!(
            answer.record().reason_code,
            ReasonCode::ExternalWriteRequiresApproval,
            "{method}"
        );
    }
}

#[test]
fn an_approval_of_one_call_is_not_spent_on_another() {
    let fleet = snapshot("default = 'require_approval'");
    let approved = with_input(call("t", &json!({})), &json!({ "rows": 1 }));
    let grant = grant(&approved, &[ReasonCode::DefaultRequiresApproval]);
    let allowed = |request| ask(request, &fleet, Some(&grant)).record().reason_code;
    assert_eq!(allowed(&approved), ReasonCode::ApprovalAllowsAction);
    let mut other_call = approved.clone();
    other_call.tool_call_id = "acme.r1.1.2".parse().unwrap();
    assert_eq!(allowed(&other_call), ReasonCode::ApprovalInputMismatch);
    let other_input = with_input(approved.clone(), &json!({ "rows": 1_000_000 }));
    assert_eq!(allowed(&other_input), ReasonCode::ApprovalInputMismatch);
    let mut other_principal = approved.clone();
    other_principal.context = PolicyContext::parse(&json!({ "principal_id": "p2" }));
    assert_eq!(allowed(&other_principal), ReasonCode::ApprovalInputMismatch);
}

#[test]
fn an_approval_is_not_spent_twice() {
    let fleet = snapshot("default = 'require_approval'");
    let request = call("t", &json!({}));
    let spent = Grant {
        state: GrantState::Used,
        ..grant(&request, &[ReasonCode::DefaultRequiresApproval])
    };
    assert_eq!(
        ask(&request, &fleet, Some(&spent)).record().reason_code,
        ReasonCode::ApprovalAlreadyUsed
    );
}

#[test]
fn a_tool_that_changed_after_approval_needs_a_new_one() {
    let fleet = snapshot("default = 'require_approval'");
    let mut request = call("t", &json!({}));
    let grant = grant(&request, &[ReasonCode::DefaultRequiresApproval]);
    request.tool.definition_digest = Digest::of(&json!("a new definition"));
    assert_eq!(
        ask(&request, &fleet, Some(&grant)).record().reason_code,
        ReasonCode::ApprovalInputMismatch
    );
}

#[test]
fn an_approval_is_judged_by_the_policy_of_the_day() {
    let mut fleet = snapshot("default = 'require_approval'");
    let request = call("t", &json!({}));
    let grant = grant(&request, &[ReasonCode::DefaultRequiresApproval]);
    assert!(!ask(&request, &fleet, Some(&grant)).is_blocked());
    let stricter = snapshot("default = 'require_approval'\nkill_switches = { tools = ['t'] }");
    fleet.set_policy(stricter.policy().cloned());
    assert_eq!(
        ask(&request, &fleet, Some(&grant)).record().reason_code,
        ReasonCode::KillSwitchActive
    );
}

#[test]
fn no_spelling_of_a_host_slips_past_a_rule() {
    let fleet = snapshot("default = 'allow'\ndomains = { allow = ['*.example.com'] }");
    for (url, allowed) in [
        ("https://EXAMPLE.COM/", true),
        ("https://example.com./", true),
        ("https://www.example.com:8443/", true),
        ("https://example.com@evil.org/", false),
        ("https://example.com:80@evil.org/", false),
        ("https://evil.org/#@example.com", false),
        ("https://evil.org\\@example.com/", false),
        ("https://example.com.evil.org/", false),
        ("https://evilexample.com/", false),
        ("https://еxample.com/", false), // a Cyrillic letter
        ("http://127.0.0.1/", false),
        ("http://2130706433/", false),
        ("http://0x7f.1/", false),
        ("http://0177.0.0.1/", false),
        ("http://[::1]/", false),
        ("http://[::ffff:127.0.0.1]/", false),
        ("//evil.org/", false),
        (" https://evil.org", false),
        ("h\tttps://evil.org", false),
    ] {
        let answer = ask(
            &with_input(call("t", &json!({})), &json!({ "url": url })),
            &fleet,
            None,
        );
        assert_eq!(
            !answer.is_blocked(),
            allowed,
            "{url}: {}",
            answer.record().reason
        );
    }
}

#[test]
fn an_ipv4_address_hides_in_no_ipv6_address() {
    for inside in [
        "::ffff:10.0.0.1",
        "::10.0.0.1",
        "64:ff9b::10.0.0.1",
        "2002:a00:1::",
        "2001:0:a00:1::",
    ] {
        assert!(!is_public_address(inside.parse().unwrap()), "{inside}");
    }
}

#[test]
fn a_redirect_to_an_internal_host_is_another_request() {
    let mut fleet = snapshot("default = 'allow'\ndomains = { allow = ['*.example.com'] }");
    let request = request_of(
        &call("egress.request", &json!({})),
        "GET",
        "https://example.com",
        "external.read",
    );
    assert!(!ask_egress(&request, &fleet, None).is_blocked());
    let hop = redirected(&request, "169.254.169.254");
    assert_eq!(
        ask_egress(&hop, &fleet, None).record().reason_code,
        ReasonCode::DomainNotAllowlisted
    );
    // An approval of the call is none of where it is sent on to.
    let asking = call("egress.request", &json!({}));
    let grant = grant(&asking, &[ReasonCode::DomainNotAllowlisted]);
    assert!(ask_egress(&hop, &fleet, Some(&grant)).is_blocked());
    // And what is switched off meanwhile stays off.
    fleet.set_policy(
        snapshot("kill_switches = { fleet = true }")
            .policy()
            .cloned(),
    );
    assert_eq!(
        ask_egress(&redirected(&request, "www.example.com"), &fleet, None)
            .record()
            .reason_code,
        ReasonCode::KillSwitchActive
    );
}

#[test]
fn a_quota_is_reserved_before_and_not_recorded_after() {
    let fleet = snapshot("auto_allow = ['t']\nlimits = { each_tool_daily = 1 }");
    let request = call("t", &json!({}));
    let without = authorize_tool_call(&request, &fleet, None, &QuotaAnswer::NotNeeded, now());
    assert!(without.is_blocked(), "nobody reserved, so nobody runs");
    assert!(!ask(&request, &fleet, None).is_blocked());
}

#[test]
fn one_calls_answer_is_not_anothers() {
    let fleet = snapshot("auto_allow = ['t']");
    let one = call("t", &json!({}));
    let mut other = one.clone();
    other.tool_call_id = "acme.r1.1.2".parse().unwrap();
    let (_, permit) = ask(&one, &fleet, None).into_parts();
    let permit = permit.unwrap();
    assert!(!permit.covers(
        &other.tool_call_id,
        &other.tool.definition_digest,
        &other.input_digest
    ));
}

#[test]
fn a_revoked_parent_has_no_live_child() {
    let mut fleet = snapshot("default = 'allow'");
    fleet.upsert_token(token("t0", "p1", all_scopes()));
    fleet.upsert_token(child("t1", "t0", "p2", all_scopes()));
    fleet.upsert_token(child("t2", "t1", "p3", all_scopes()));
    fleet.upsert_token(child("t3", "t2", "p4", all_scopes()));
    let request = call("t", &json!({ "capability_token_id": "t3" }));
    assert!(!ask(&request, &fleet, None).is_blocked());
    let mut revoked = token("t0", "p1", all_scopes());
    revoked.revoked_at = Some(at("2026-03-04T11:59:59Z"));
    fleet.upsert_token(revoked);
    assert_eq!(code(&request, &fleet), ReasonCode::CapabilityTokenRevoked);
    fleet.remove_token(&crate::world::acme(), &crate::world::token_id("t0"));
    assert_eq!(code(&request, &fleet), ReasonCode::CapabilityTokenNotFound);
}

#[test]
fn a_line_of_descent_that_is_too_long_is_no_authority() {
    let mut fleet = snapshot("default = 'allow'");
    fleet.upsert_token(token("t0", "p1", all_scopes()));
    for n in 1..=4 {
        fleet.upsert_token(child(
            &format!("t{n}"),
            &format!("t{}", n - 1),
            "p1",
            all_scopes(),
        ));
    }
    assert!(
        !ask(
            &call("t", &json!({ "capability_token_id": "t3" })),
            &fleet,
            None
        )
        .is_blocked()
    );
    assert_eq!(
        code(&call("t", &json!({ "capability_token_id": "t4" })), &fleet),
        ReasonCode::PolicyEvaluationError
    );
}

#[test]
fn nobody_approves_their_own_call_by_another_spelling_of_their_name() {
    let rules = Approvals::default();
    assert_eq!(
        approval::count(&rules, 1, &["Ann"], &[], "ann"),
        Err(approval::VoteRefused::Requester)
    );
}

#[test]
fn a_list_of_tools_holds_no_wildcard_that_means_nothing() {
    assert!(PolicyDocument::parse("require_approval = ['*']").is_err());
    assert!(PolicyDocument::parse("kill_switches = { tools = ['crm.*'] }").is_err());
}

#[test]
fn a_misspelt_rule_is_no_missing_rule() {
    for text in [
        "require_aproval = ['t']",
        "kill_switch = { fleet = true }",
        "kill_switches = { flet = true }",
        "[[action]]\ntype = 'x'",
    ] {
        assert!(PolicyDocument::parse(text).is_err(), "{text}");
    }
}
