//! Recorded decisions under a candidate: values in, values out.

use gatewright_policy::{
    CompiledPolicy, PolicyDocument, Replay,
    replay::{Change, Difference, Unreplayable},
};
use gatewright_schemas::{
    ApprovalFacts, Decision, DecisionRecord, EnforcementMode, EventBody, Finding, GateFacts,
    HopFacts, ReasonCode, RecordedDecision, RunId, ToolCallId, Zone,
    event::{
        CapabilityGranted, CapabilityRevoked, PrincipalQuarantined, PrincipalRegistered,
        PrincipalReleased,
    },
};

use crate::world::{acme, agent, all_scopes, at, principal_id, quarantined, token, token_id};

const OPEN: &str = "mode = \"enforce\"\ndefault = \"allow\"\n";

fn under(document: &str) -> Replay {
    let document = PolicyDocument::parse(document).unwrap_or_else(|faults| panic!("{faults}"));
    let digest = document.digest();
    Replay::under(CompiledPolicy::new(document, 7, digest))
}

fn answer(decision: Decision, code: ReasonCode) -> DecisionRecord {
    DecisionRecord {
        decision,
        reason_code: code,
        reason: "because".into(),
        enforcement_mode: EnforcementMode::Enforce,
        blocked: decision != Decision::Allow,
        findings: Vec::new(),
        policy_revision: Some(1),
        policy_digest: None,
    }
}

/// A call of `echo` that was allowed at noon.
fn recorded() -> RecordedDecision {
    RecordedDecision {
        decided_at: at("2026-03-04T12:00:00Z"),
        workspace_id: acme(),
        run_id: RunId::new("r1").unwrap(),
        seq: 4,
        tool_call_id: "acme.r1.1.1".parse::<ToolCallId>().unwrap(),
        tool_name: "echo".into(),
        category: "tool".into(),
        zone: Zone::Sandbox,
        principal_id: None,
        capability_token_id: None,
        room_id: None,
        action_type: None,
        hosts: Vec::new(),
        asked: Some(GateFacts::default()),
        decision: answer(Decision::Allow, ReasonCode::DefaultAllow),
    }
}

fn objecting(mut recorded: RecordedDecision, code: ReasonCode) -> RecordedDecision {
    recorded.decision = answer(Decision::Deny, code);
    recorded.decision.findings.push(Finding {
        check: "x".into(),
        decision: Decision::Deny,
        reason_code: code,
        reason: "because".into(),
    });
    recorded
}

fn code(replay: &mut Replay, recorded: &RecordedDecision) -> ReasonCode {
    replay.ask(recorded).unwrap().reason_code
}

#[test]
fn every_kind_of_change_is_told_apart() {
    use ReasonCode::{DefaultAllow, DefaultDeny, ToolAutoAllowed, ToolRequiresApproval};
    let allow = |code| answer(Decision::Allow, code);
    let deny = |code| answer(Decision::Deny, code);
    let ask = |code| answer(Decision::RequireApproval, code);
    let shadow = |mut record: DecisionRecord| {
        record.enforcement_mode = EnforcementMode::Shadow;
        record.blocked = false;
        record
    };
    for (then, now, change) in [
        (allow(DefaultAllow), allow(DefaultAllow), Change::Same),
        (
            allow(DefaultAllow),
            shadow(allow(DefaultAllow)),
            Change::Same,
        ),
        (
            allow(DefaultAllow),
            allow(ToolAutoAllowed),
            Change::OtherReason,
        ),
        (allow(DefaultAllow), deny(DefaultDeny), Change::NewlyDenied),
        (
            ask(ToolRequiresApproval),
            deny(DefaultDeny),
            Change::NewlyDenied,
        ),
        (
            allow(DefaultAllow),
            ask(ToolRequiresApproval),
            Change::NewlyNeedingApproval,
        ),
        (
            deny(DefaultDeny),
            ask(ToolRequiresApproval),
            Change::NewlyNeedingApproval,
        ),
        (
            shadow(deny(DefaultDeny)),
            allow(DefaultAllow),
            Change::NewlyAllowed,
        ),
        (
            shadow(deny(DefaultDeny)),
            deny(DefaultDeny),
            Change::OtherMode,
        ),
    ] {
        assert_eq!(Change::between(&then, &now), change, "{then:?} {now:?}");
    }
}

#[test]
fn a_decision_meets_the_authority_of_its_own_time() {
    let mut replay = under(OPEN);
    let mut asked = recorded();
    asked.principal_id = Some(principal_id("p1"));
    asked.capability_token_id = Some(token_id("t1"));
    assert_eq!(
        code(&mut replay, &asked),
        ReasonCode::CapabilityTokenNotFound
    );
    let granted = EventBody::CapabilityGranted(CapabilityGranted {
        token: token("t1", "p1", all_scopes()),
    });
    replay.learn(&acme(), &granted);
    let registered = EventBody::PrincipalRegistered(PrincipalRegistered {
        principal: agent("p1", "a1"),
    });
    replay.learn(&acme(), &registered);
    asked.room_id = Some("lobby".into());
    assert_eq!(code(&mut replay, &asked), ReasonCode::DefaultAllow);
    let locked = quarantined(agent("p1", "a1"));
    let locked = EventBody::PrincipalQuarantined(PrincipalQuarantined {
        principal_id: locked.principal_id,
        quarantine: locked.quarantine.unwrap(),
    });
    replay.learn(&acme(), &locked);
    assert_eq!(code(&mut replay, &asked), ReasonCode::AgentQuarantined);
    let released = EventBody::PrincipalReleased(PrincipalReleased {
        principal_id: principal_id("p1"),
        by: "ann".into(),
        reason: None,
    });
    replay.learn(&acme(), &released);
    assert_eq!(code(&mut replay, &asked), ReasonCode::DefaultAllow);
    // Another workspace's revocation is nothing to this one.
    let revoked = EventBody::CapabilityRevoked(CapabilityRevoked {
        token_id: token_id("t1"),
        revoked_at: at("2026-03-04T11:00:00Z"),
        by: "ann".into(),
        reason: None,
    });
    replay.learn(&"other".parse().unwrap(), &revoked);
    assert_eq!(code(&mut replay, &asked), ReasonCode::DefaultAllow);
    replay.learn(&acme(), &revoked);
    assert_eq!(
        code(&mut replay, &asked),
        ReasonCode::CapabilityTokenRevoked
    );
}

#[test]
fn an_approval_settles_what_it_was_asked_for_and_nothing_else() {
    let mut asked = recorded();
    asked.decision = answer(Decision::Allow, ReasonCode::ApprovalAllowsAction);
    asked.asked = Some(GateFacts {
        approval: Some(ApprovalFacts {
            settles: vec![ReasonCode::ToolRequiresApproval],
        }),
        ..GateFacts::default()
    });
    let listed = format!("{OPEN}require_approval = [\"echo\"]\n");
    assert_eq!(
        code(&mut under(&listed), &asked),
        ReasonCode::ApprovalAllowsAction
    );
    asked.hosts = vec!["new.test".into()];
    assert_eq!(
        code(&mut under(&listed), &asked),
        ReasonCode::DomainNotAllowlisted
    );
    // One that the gate found fault with is as bad again.
    for fault in [
        ReasonCode::ApprovalInputMismatch,
        ReasonCode::ApprovalExpired,
        ReasonCode::ApprovalDenied,
        ReasonCode::ApprovalAlreadyUsed,
        ReasonCode::ApprovalNotGranted,
        ReasonCode::ApprovalNotFound,
    ] {
        let asked = objecting(asked.clone(), fault);
        assert_eq!(code(&mut under(&listed), &asked), fault);
    }
}

#[test]
fn what_no_document_mends_stays_as_it_was() {
    for fault in [
        ReasonCode::PolicySnapshotStale,
        ReasonCode::PolicyContextInvalid,
    ] {
        assert_eq!(code(&mut under(OPEN), &objecting(recorded(), fault)), fault);
    }
    let mut unreadable = objecting(recorded(), ReasonCode::PolicyEvaluationError);
    unreadable.asked = Some(GateFacts {
        hosts_unreadable: true,
        ..GateFacts::default()
    });
    assert_eq!(
        code(&mut under(OPEN), &unreadable),
        ReasonCode::PolicyEvaluationError
    );
}

#[test]
fn limits_are_counted_over_what_is_replayed_and_begin_anew() {
    let limited = format!("{OPEN}[limits.tools_daily]\necho = 2\n");
    let mut replay = under(&limited);
    let mut asked = recorded();
    let mut codes = Vec::new();
    for time in ["12:00", "13:00", "14:00"] {
        asked.decided_at = at(&format!("2026-03-04T{time}:00Z"));
        codes.push(code(&mut replay, &asked));
    }
    asked.decided_at = at("2026-03-05T00:00:00Z");
    codes.push(code(&mut replay, &asked));
    let (yes, no) = (ReasonCode::DefaultAllow, ReasonCode::ToolQuotaExceeded);
    assert_eq!(codes, [yes, yes, no, yes]);
}

#[test]
fn a_request_to_the_outside_is_asked_about_as_one() {
    let mut asked = recorded();
    asked.category = "egress".into();
    asked.action_type = Some("internal.read".into());
    asked.asked = Some(GateFacts {
        hop: Some(HopFacts {
            call_host: Some("old.test".into()),
            host: "new.test".into(),
            method: "GET".into(),
            number: 1,
        }),
        through_gateway: true,
        ..GateFacts::default()
    });
    let domains = |domain: &str| format!("{OPEN}[domains]\nallow = [\"{domain}\"]\n");
    let (listed, other) = (domains("new.test"), domains("old.test"));
    assert!(!under(&listed).ask(&asked).unwrap().blocked);
    assert_eq!(
        code(&mut under(&other), &asked),
        ReasonCode::DomainNotAllowlisted
    );
    asked.action_type = Some("external.write".into());
    assert_eq!(
        code(&mut under(&listed), &asked),
        ReasonCode::ExternalWriteRequiresApproval
    );
}

#[test]
fn what_cannot_be_asked_again_is_counted_and_never_dropped() {
    let mut old = recorded();
    old.asked = None;
    let mut cleaned = recorded();
    cleaned.hosts = vec!["[redacted].test".into()];
    let mut unknown = recorded();
    unknown.category = "dream".into();
    let mut odd = recorded();
    odd.category = "egress".into();
    let mut difference = Difference::default();
    let mut replay = under(OPEN);
    for (recorded, why) in [
        (&old, Unreplayable::NoFacts),
        (&cleaned, Unreplayable::Host),
        (&unknown, Unreplayable::Question),
        (&odd, Unreplayable::Question),
    ] {
        assert_eq!(replay.ask(recorded), Err(why));
        difference.add(recorded, Err(why));
    }
    let same = recorded();
    let now = replay.ask(&same);
    difference.add(&same, now.as_ref().map_err(|why| *why));
    let totals = difference.totals();
    assert_eq!(
        (totals.decisions, totals.unreplayable, totals.same),
        (5, 4, 1)
    );
    assert_eq!(totals.changed(), 0);
    let told: Vec<(u64, usize)> = difference
        .unreplayable()
        .iter()
        .map(|group| (group.decisions, group.examples.len()))
        .collect();
    assert_eq!(told, [(1, 1), (1, 1), (2, 1)]);
    assert_eq!(difference.tools()[0].totals.unreplayable, 4);
}

#[test]
fn most_changes_come_first_and_ties_are_in_order() {
    let mut difference = Difference::default();
    let denied = answer(Decision::Deny, ReasonCode::DefaultDeny);
    for (tool, run) in [
        ("b", "r3"),
        ("c", "r1"),
        ("a", "r2"),
        ("c", "r1"),
        ("c", "r4"),
        ("c", "r5"),
        ("c", "r6"),
    ] {
        let mut one = recorded();
        one.tool_name = tool.into();
        one.run_id = RunId::new(run).unwrap();
        difference.add(&one, Ok(&denied));
    }
    let names: Vec<_> = difference
        .tools()
        .into_iter()
        .map(|group| group.name.unwrap())
        .collect();
    assert_eq!(names, ["c", "a", "b"]);
    let reasons = difference.reasons();
    assert_eq!((reasons.len(), reasons[0].decisions), (1, 7));
    assert_eq!(reasons[0].examples, ["acme/r3", "acme/r1", "acme/r2"]);
}
