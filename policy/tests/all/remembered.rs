//! What a remembered approval must not cover, each beside what it does cover.

use std::time::Duration;

use gatewright_policy::{
    Host, PolicyContext, Snapshot,
    approval::{NotMemorable, likeness, remember},
    redact::{Marks, Parts, take_out},
};
use gatewright_schemas::{
    Actor, Decision, DecisionRecord, Digest, Effect, EnforcementMode, Finding, ReasonCode,
    RememberedApproval,
    event::{ApprovalQuestion, ApprovalRequested, Likeness},
};
use serde_json::{Value, json};

use crate::world;

fn remembered(
    tool: &str,
    hosts: &[&str],
    input: Option<&Value>,
    findings: &[ReasonCode],
) -> RememberedApproval {
    RememberedApproval {
        remembered_id: "rem-1".parse().unwrap(),
        workspace_id: world::acme(),
        approval_id: "acme.r0.1.1.a1".parse().unwrap(),
        principal_id: world::principal_id("p1"),
        actor: actor(),
        effect: Effect::Read,
        tool_name: tool.into(),
        definition_digest: world::call(tool, &Value::Null).tool.definition_digest,
        hosts: hosts.iter().map(ToString::to_string).collect(),
        input_digest: input.map(Digest::of),
        sandbox_profile: None,
        findings: findings.to_vec(),
        approved_by: vec!["ann".into()],
        remembered_at: world::at("2026-03-04T11:00:00Z"),
        expires_at: world::at("2026-03-04T13:00:00Z"),
        revoked_at: None,
    }
}

/// The fleet's own service, which acts where a call names no other.
fn actor() -> Actor {
    PolicyContext::default().actor
}

fn knowing(policy: &str, entry: RememberedApproval) -> Snapshot {
    let mut snapshot = world::snapshot(&format!(
        "approvals = {{ max_remember = \"7d\" }}\n{policy}"
    ));
    snapshot.upsert_remembered(entry);
    snapshot
}

fn recorded(input: &Value) -> Value {
    let mut recorded = input.clone();
    let parts = Parts {
        inputs: vec![&mut recorded],
        ..Parts::default()
    };
    take_out(parts, &Marks::by_default()).unwrap();
    recorded
}

fn asked(input: &Value, principal: Option<&str>) -> ApprovalRequested {
    let finding = objection(ReasonCode::ToolRequiresApproval);
    ApprovalRequested {
        approval_id: "acme.r0.1.1.a1".parse().unwrap(),
        question: ApprovalQuestion::MakeTheCall,
        tool_call_id: "acme.r0.1.1".parse().unwrap(),
        tool_name: "pay".into(),
        definition_digest: Digest::of(&json!("pay")),
        input: input.clone(),
        input_digest: Digest::of(input),
        principal_id: principal.map(world::principal_id),
        asked_by: Some(actor()),
        hosts: Vec::new(),
        effect: Some(Effect::Write),
        sandbox_permissions: None,
        sandbox_profile: None,
        decision: Some(DecisionRecord {
            decision: Decision::RequireApproval,
            reason_code: finding.reason_code,
            reason: String::new(),
            enforcement_mode: EnforcementMode::Enforce,
            blocked: true,
            findings: vec![finding],
            policy_revision: None,
            policy_digest: None,
        }),
        likeness: Likeness::Input,
        approvers: 1,
        expires_at: world::at("2026-03-04T13:00:00Z"),
    }
}

fn objection(reason_code: ReasonCode) -> Finding {
    Finding {
        check: "check".into(),
        decision: Decision::RequireApproval,
        reason_code,
        reason: String::new(),
    }
}

fn remember_it(request: &ApprovalRequested) -> Result<RememberedApproval, NotMemorable> {
    let voters = vec!["ann".into()];
    let (id, hour) = ("rem-1".parse().unwrap(), Duration::from_hours(1));
    remember(request, id, world::acme(), voters, world::now(), hour)
}

#[test]
fn an_input_with_secrets_is_not_remembered_since_others_are_recorded_alike() {
    let seen = recorded(&json!({ "to": "bob", "password": "what the approved run had" }));
    let later = recorded(&json!({ "to": "bob", "password": "something else altogether" }));
    assert_eq!(Digest::of(&seen), Digest::of(&later));
    let refused = remember_it(&asked(&seen, Some("p1")));
    assert_eq!(refused.unwrap_err(), NotMemorable::Secrets);
    assert!(remember_it(&asked(&json!({ "to": "bob" }), Some("p1"))).is_ok());
}

#[test]
fn a_call_on_nobodys_authority_is_not_remembered() {
    let refused = remember_it(&asked(&json!({}), None));
    assert_eq!(refused.unwrap_err(), NotMemorable::Nobody);
}

#[test]
fn a_host_bounds_a_call_only_where_nothing_but_the_host_is_objected_to() {
    let of = |through_gateway, hosts: &[&str], code| {
        let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
        likeness(through_gateway, &hosts, [&objection(code)])
    };
    let host = ["api.example.org"];
    for code in [
        ReasonCode::DomainNotAllowlisted,
        ReasonCode::ExternalWriteRequiresApproval,
        ReasonCode::ToolRequiresApproval,
        ReasonCode::DefaultRequiresApproval,
    ] {
        assert_eq!(of(true, &host, code), Likeness::Hosts, "{code}");
        assert_eq!(of(false, &host, code), Likeness::Input, "{code}");
        assert_eq!(of(true, &[], code), Likeness::Input, "{code}");
    }
    for code in [
        ReasonCode::SandboxEscalationRequiresApproval,
        ReasonCode::ActionPreApprovalRequired,
        ReasonCode::ActionIrreversibleRequiresHighStakes,
    ] {
        assert_eq!(of(true, &host, code), Likeness::Input, "{code}");
    }
}

#[test]
fn a_host_that_the_approved_input_merely_mentioned_is_no_target() {
    // A POST to api.example.org whose body mentions another host.
    let finding = objection(ReasonCode::DomainNotAllowlisted);
    let hosts = ["api.example.org".to_owned(), "bank.example.net".to_owned()];
    assert_eq!(likeness(true, &hosts, [&finding]), Likeness::Input);
}

#[test]
fn a_remembered_approval_covers_no_redirect_that_the_approval_itself_did_not() {
    let policy = "default = \"allow\"\ndomains = { allow = [\"*.example.com\"] }";
    let input = json!({ "target_url": "https://api.example.org/a", "body": { "see": "https://bank.example.net/" } });
    let codes = [ReasonCode::DomainNotAllowlisted];
    let call = world::with_input(
        world::call("egress.request", &json!({ "principal_id": "p1" })),
        &input,
    );
    let hop = world::request_of(&call, "GET", "https://api.example.org/a", "internal.read");
    let hop = world::redirected(&hop, Host::parse("bank.example.net").unwrap().as_str());
    let once = world::ask_egress(
        &hop,
        &world::snapshot(policy),
        Some(&world::grant(&call, &codes)),
    );
    assert_eq!(once.record().decision, Decision::RequireApproval);
    for bound in [Some(&input), None] {
        let entry = remembered(
            "egress.request",
            &["api.example.org", "bank.example.net"],
            bound,
            &codes,
        );
        let answer = world::ask_egress(&hop, &knowing(policy, entry), None);
        assert_eq!(
            answer.record().decision,
            Decision::RequireApproval,
            "bound by input: {}",
            bound.is_some()
        );
    }
}

#[test]
fn a_remembered_read_is_no_leave_to_write() {
    // The policy asks about the tool as such, not about writing: the person was shown a GET.
    let policy = "default = \"allow\"\nrequire_approval = [\"egress.request\"]\ndomains = { allow = [\"*\"] }";
    let entry = remembered(
        "egress.request",
        &["api.example.org"],
        None,
        &[ReasonCode::ToolRequiresApproval],
    );
    let input = json!({ "target_url": "https://api.example.org/everything" });
    let mut call = world::with_input(
        world::call("egress.request", &json!({ "principal_id": "p1" })),
        &input,
    );
    let snapshot = knowing(policy, entry);
    for (effect, wanted) in [
        (Effect::Read, Decision::Allow),
        (Effect::Write, Decision::RequireApproval),
    ] {
        call.tool.effect = effect;
        let answer = world::ask(&call, &snapshot, None);
        assert_eq!(answer.record().decision, wanted, "{effect}");
    }
}

#[test]
fn another_actor_who_states_the_principal_does_not_ride_on_its_remembered_approval() {
    let input = json!({ "to": "bob" });
    let entry = remembered(
        "pay",
        &[],
        Some(&input),
        &[ReasonCode::ToolRequiresApproval],
    );
    let snapshot = knowing("default = \"allow\"\nrequire_approval = [\"pay\"]", entry);
    for (context, wanted) in [
        (json!({ "principal_id": "p1" }), Decision::Allow),
        (
            json!({ "principal_id": "p1", "actor_type": "user", "actor_id": "mallory" }),
            Decision::RequireApproval,
        ),
    ] {
        let call = world::with_input(world::call("pay", &context), &input);
        let answer = world::ask(&call, &snapshot, None);
        assert_eq!(answer.record().decision, wanted, "{context}");
    }
}

#[test]
fn a_policy_that_takes_remembering_back_or_shortens_it_is_obeyed_at_once() {
    let input = json!({ "to": "bob" });
    let entry = remembered(
        "pay",
        &[],
        Some(&input),
        &[ReasonCode::ToolRequiresApproval],
    );
    let call = world::with_input(world::call("pay", &json!({ "principal_id": "p1" })), &input);
    for (rules, wanted) in [
        ("approvals = { max_remember = \"2h\" }", Decision::Allow),
        (
            "approvals = { max_remember = \"30m\" }",
            Decision::RequireApproval,
        ),
        ("", Decision::RequireApproval),
    ] {
        let policy = format!("default = \"allow\"\nrequire_approval = [\"pay\"]\n{rules}\n");
        let mut snapshot = world::snapshot(&policy);
        snapshot.upsert_remembered(entry.clone());
        let answer = world::ask(&call, &snapshot, None);
        assert_eq!(answer.record().decision, wanted, "{rules}");
    }
}
