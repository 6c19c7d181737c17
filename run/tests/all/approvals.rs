use gatewright_policy::{approval::VoteRefused, document::Approvals};
use gatewright_run::{
    Fate, Next,
    decide::{self, Undecided, Verdict},
    next,
};
use gatewright_schemas::{
    ApprovalId, EventBody, Gate, ReasonCode, RunStatus, Stage, event::WaitingFor,
};
use serde_json::json;

use crate::world::{
    Did, Story, ask, enforced, noon, request, says, says_yes_for, snapshot, tonight,
};

fn parked(tool: &str) -> Story {
    let mut story = Story::calling(&[&[tool]]);
    assert_eq!(story.work_well(), Did::Parked);
    story
}

#[test]
fn a_call_that_needs_approval_parks_the_run() {
    let story = parked("pay");
    assert_eq!(
        story.last(),
        [
            "run.started",
            "step.created",
            "policy.requires_approval",
            "approval.requested",
            "run.suspended"
        ]
    );
    assert_eq!(story.status(), RunStatus::WaitingApproval);
    assert_eq!(story.commits.last().unwrap().gate, Gate::RequireApproval);
    assert_eq!(next(&story.state), Next::Nothing);
    let progress = story.state.progress.as_ref().unwrap();
    assert_eq!(progress.lease, None, "a parked run holds no lease");
    let bodies = story.last_bodies();
    let EventBody::RunSuspended(suspended) = &bodies[4] else {
        panic!("{bodies:?}");
    };
    assert_eq!(
        suspended.waiting_for,
        WaitingFor::Approval {
            approval_id: ApprovalId::new("acme.r1.1.1.a1").unwrap(),
            expires_at: tonight(),
        }
    );
}

#[test]
fn an_approved_call_is_made_once_woken_and_spends_the_approval() {
    let mut story = parked("pay");
    let id = story.approval_id();
    assert_eq!(story.decide_approval(true), ["approval.decided"]);
    assert_eq!(story.status(), RunStatus::Queued);
    assert_eq!(story.work_well(), Did::Invoked);
    assert_eq!(story.last(), ["run.resumed", "tool.invoked"]);
    assert_eq!(story.commits.last().unwrap().gate, Gate::Allow);
    let bodies = story.last_bodies();
    let EventBody::RunResumed(resumed) = &bodies[0] else {
        panic!("{bodies:?}");
    };
    assert!(!resumed.takeover);
    assert_eq!(resumed.attempt, 2);
    let EventBody::ToolInvoked(invoked) = &bodies[1] else {
        panic!("{bodies:?}");
    };
    assert_eq!(invoked.approval_id, Some(id));
    assert_eq!(
        invoked.decision.reason_code,
        ReasonCode::ApprovalAllowsAction
    );
    let progress = story.state.progress.as_ref().unwrap();
    assert_eq!(progress.waiting, None, "the approval is spent");
    assert_eq!(story.work_off(), RunStatus::Succeeded);
}

#[test]
fn an_approval_does_not_outlive_a_denial() {
    let mut story = parked("pay");
    story.decide_approval(true);
    story = story.under(snapshot(
        "default = \"allow\"\nrequire_approval = [\"pay\"]\nkill_switches.tools = [\"pay\"]\n",
    ));
    assert_eq!(story.work_well(), Did::Refused);
    assert_eq!(
        story.last(),
        [
            "run.resumed",
            "policy.denied",
            "tool.failed",
            "step.completed",
            "run.failed"
        ]
    );
}

#[test]
fn each_request_of_a_run_has_an_id_of_its_own() {
    let mut story = Story::calling(&[&["pay", "pay"]]);
    let mut ids = Vec::new();
    for _ in 0..2 {
        story.work_off();
        ids.push(story.approval_id().to_string());
        story.decide_approval(true);
    }
    assert_eq!(ids, ["acme.r1.1.1.a1", "acme.r1.1.2.a2"]);
    assert_eq!(story.work_off(), RunStatus::Succeeded);
}

#[test]
fn a_no_fails_the_call_and_the_run() {
    let mut story = parked("pay");
    assert_eq!(
        story.decide_approval(false),
        [
            "approval.decided",
            "tool.failed",
            "step.completed",
            "run.failed"
        ]
    );
    assert_eq!(story.commits.last().unwrap().gate, Gate::None);
    let bodies = story.last_bodies();
    let EventBody::RunFailed(failed) = &bodies[3] else {
        panic!("{bodies:?}");
    };
    assert_eq!(failed.error.stage, Stage::ToolPolicy);
    assert_eq!(failed.error.reason_code, ReasonCode::ApprovalDenied);
    assert!(failed.error.blocked);
    assert!(
        failed.error.reason.contains("`ann`") && failed.error.reason.contains("because"),
        "{}",
        failed.error.reason
    );
}

#[test]
fn a_no_fails_the_run_also_where_failures_are_passed_over() {
    let mut story = Story::of(&json!({ "steps": [{ "tool_calls": [
        { "tool": "pay", "on_failure": "continue" }, { "tool": "read" }
    ] }] }));
    story.work_off();
    story.decide_approval(false);
    assert_eq!(story.status(), RunStatus::Failed);
}

#[test]
fn silence_fails_the_call_and_the_run() {
    let mut story = parked("pay");
    let expired = story.answer(Verdict::Expired);
    assert_eq!(
        story.append(expired),
        [
            "approval.expired",
            "tool.failed",
            "step.completed",
            "run.failed"
        ]
    );
    let bodies = story.last_bodies();
    let EventBody::ToolFailed(failed) = &bodies[1] else {
        panic!("{bodies:?}");
    };
    assert_eq!(failed.error.reason_code, ReasonCode::ApprovalExpired);
    assert_eq!(failed.executions, 0);
}

#[test]
fn an_approval_is_answered_once_and_only_the_one_that_is_asked_for() {
    let mut story = parked("pay");
    let rules = Approvals::default();
    let other = ApprovalId::new("acme.r1.1.1.a2").unwrap();
    assert_eq!(
        story
            .answer_at(&other, says("ann", true), &rules, noon())
            .unwrap_err(),
        Undecided::NotWaiting
    );
    let id = story.approval_id();
    story.decide_approval(true);
    for verdict in [says("ann", true), says("ben", false), Verdict::Expired] {
        let again = story.answer_at(&id, verdict, &rules, tonight());
        assert_eq!(again.unwrap_err(), Undecided::Answered(Fate::Approved));
    }
    story.work_off();
    let late = story.answer_at(&id, says("ann", true), &rules, noon());
    assert_eq!(late.unwrap_err(), Undecided::Answered(Fate::Used));
}

#[test]
fn what_became_of_an_approval_is_known_after_the_runs_end() {
    let rules = Approvals::default();
    let fates = [
        (says("ann", false), Fate::Denied),
        (Verdict::Expired, Fate::Expired),
    ];
    for (verdict, fate) in fates {
        let mut story = parked("pay");
        let id = story.approval_id();
        let answered = story.answer(verdict);
        story.append(answered);
        let late = story.answer_at(&id, says("ben", true), &rules, noon());
        assert_eq!(late.unwrap_err(), Undecided::Answered(fate));
    }
    let mut story = parked("pay");
    let id = story.approval_id();
    let cancelled = decide::cancel(&story.state, "ann".into(), None);
    story.append(cancelled);
    let late = story.answer_at(&id, says("ben", true), &rules, noon());
    assert_eq!(late.unwrap_err(), Undecided::Ended);
    let never = id.as_str().replace(".a1", ".a9").parse().unwrap();
    let unknown = story.answer_at(&never, says("ben", true), &rules, noon());
    assert_eq!(unknown.unwrap_err(), Undecided::NotWaiting);
}

#[test]
fn a_yes_that_comes_when_the_time_is_over_is_none() {
    let mut story = parked("pay");
    let id = story.approval_id();
    let late = story.answer_at(&id, says("ann", true), &Approvals::default(), tonight());
    assert_eq!(
        story.append(late),
        [
            "approval.expired",
            "tool.failed",
            "step.completed",
            "run.failed"
        ]
    );
}

#[test]
fn nobody_lets_an_approval_lapse_before_its_time() {
    let story = parked("pay");
    let id = story.approval_id();
    let early = story.answer_at(&id, Verdict::Expired, &Approvals::default(), noon());
    assert_eq!(
        early.unwrap_err(),
        Undecided::NotExpired {
            expires_at: tonight()
        }
    );
}

fn two() -> Approvals {
    Approvals {
        approvers: 2,
        ..Approvals::default()
    }
}

#[test]
fn where_two_must_approve_one_yes_leaves_the_run_parked() {
    let mut story = parked("pay");
    let id = story.approval_id();
    let first = story.answer_at(&id, says("ann", true), &two(), noon());
    assert_eq!(story.append(first), ["approval.voted"]);
    assert_eq!(story.status(), RunStatus::WaitingApproval);
    let again = story.answer_at(&id, says("ANN", true), &two(), noon());
    assert_eq!(
        again.unwrap_err(),
        Undecided::Vote(VoteRefused::VotedAlready)
    );
    let second = story.answer_at(&id, says("ben", true), &two(), noon());
    assert_eq!(story.append(second), ["approval.decided"]);
    assert_eq!(story.status(), RunStatus::Queued);
    let bodies = story.last_bodies();
    let EventBody::ApprovalDecided(decided) = &bodies[0] else {
        panic!("{bodies:?}");
    };
    assert_eq!(
        (decided.by.as_str(), &decided.voted_before[..]),
        ("ben", &["ann".to_owned()][..])
    );
    let progress = story.state.progress.as_ref().unwrap();
    assert_eq!(progress.waiting.as_ref().unwrap().votes.len(), 2);
    assert_eq!(story.work_off(), RunStatus::Succeeded);
}

#[test]
fn one_no_is_enough_where_two_must_approve() {
    let mut story = parked("pay");
    let id = story.approval_id();
    let first = story.answer_at(&id, says("ann", true), &two(), noon());
    story.append(first);
    let second = story.answer_at(&id, says("ben", false), &two(), noon());
    story.append(second);
    assert_eq!(story.status(), RunStatus::Failed);
}

#[test]
fn an_approval_of_one_is_not_enough_once_the_policy_wants_two() {
    let mut story = parked("pay");
    story.decide_approval(true);
    story = story.under(snapshot(
        "default = \"allow\"\nrequire_approval = [\"pay\"]\napprovals.approvers = 2\n",
    ));
    assert_eq!(story.work_well(), Did::Refused);
    let bodies = story.last_bodies();
    let denied = bodies.iter().find_map(|body| match body {
        EventBody::PolicyDenied(denied) => Some(denied.decision.reason_code),
        _ => None,
    });
    assert_eq!(denied, Some(ReasonCode::ApprovalNotGranted));
}

#[test]
fn whoever_asks_may_not_approve_under_any_of_their_names() {
    let story = {
        let mut story = Story::of(&json!({
            "policy": { "principal_id": "p-robot", "actor_type": "user", "actor_id": "rob" },
            "steps": [{ "tool_calls": [{ "tool": "pay" }] }]
        }));
        assert_eq!(story.work_well(), Did::Parked);
        story
    };
    let id = story.approval_id();
    // `robot` is what the authority knows the principal as.
    for name in ["rob", "p-robot", "robot", "ROBOT"] {
        let own = story.answer_at(&id, says(name, true), &Approvals::default(), noon());
        assert_eq!(
            own.unwrap_err(),
            Undecided::Vote(VoteRefused::Requester),
            "{name}"
        );
    }
    assert!(story.answer(says("robot", false)).is_ok(), "a no is heard");
}

#[test]
fn an_approval_is_remembered_as_long_as_the_most_cautious_wants_and_the_policy_allows() {
    let rules = Approvals {
        max_remember: Some("1h".parse().unwrap()),
        ..two()
    };
    let named = || {
        let mut story = Story::of(&json!({
            "policy": { "principal_id": "p1" }, "steps": [{ "tool_calls": [{ "tool": "pay" }] }]
        }));
        assert_eq!(story.work_well(), Did::Parked);
        story
    };
    let remembered = |first: Verdict, second: Verdict| {
        let mut story = named();
        let id = story.approval_id();
        for verdict in [first, second] {
            let answered = story.answer_at(&id, verdict, &rules, noon());
            story.append(answered);
        }
        match &story.last_bodies()[..] {
            [EventBody::ApprovalDecided(decided)] => decided.remember_s,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(
        remembered(says_yes_for("ann", 60), says_yes_for("ben", 3600)),
        Some(60)
    );
    assert_eq!(remembered(says_yes_for("ann", 60), says("ben", true)), None);
    assert_eq!(remembered(says("ann", true), says_yes_for("ben", 60)), None);

    let nobodys = parked("pay");
    let nothing = Approvals::default();
    for (story, rules, seconds) in [
        (named(), &rules, 3601),
        (named(), &nothing, 1),
        (nobodys, &rules, 1),
    ] {
        let id = story.approval_id();
        let refused = story.answer_at(&id, says_yes_for("ann", seconds), rules, noon());
        assert!(matches!(refused, Err(Undecided::NotMemorable { .. })));
    }
}

#[test]
fn a_repetition_under_the_same_key_needs_no_second_approval() {
    let mut story = parked("renew");
    let id = story.approval_id();
    story.decide_approval(true);
    assert_eq!(story.work_well(), Did::Invoked);
    story.crash();
    assert_eq!(story.work_well(), Did::Invoked);
    let bodies = story.last_bodies();
    let EventBody::ToolInvoked(again) = &bodies[1] else {
        panic!("{bodies:?}");
    };
    assert_eq!(again.approval_id, Some(id));
    assert_eq!(story.work_off(), RunStatus::Succeeded);
}

#[test]
fn an_approval_that_was_not_spent_is_not_spent_by_the_next_call() {
    let mut story = Story::of(&json!({ "steps": [{ "tool_calls": [
        { "tool": "pay", "on_failure": "continue" }, { "tool": "read" }
    ] }] }));
    story.work_off();
    let id = story.approval_id();
    story.decide_approval(true);
    story = story.under(snapshot(
        "default = \"allow\"\nkill_switches.tools = [\"pay\"]\n",
    ));
    assert_eq!(story.work_off(), RunStatus::Succeeded);
    let progress = story.state.progress.as_ref().unwrap();
    assert_eq!(progress.fate_of(&id), Some(Fate::Approved));
}

#[test]
fn a_run_that_wishes_so_fails_instead_of_waiting() {
    let mut story = Story::of(&json!({
        "policy": { "on_approval": "fail" }, "steps": [{ "tool_calls": [{ "tool": "pay" }] }]
    }));
    assert_eq!(story.work_well(), Did::Refused);
    assert_eq!(
        story.last(),
        [
            "run.started",
            "step.created",
            "policy.requires_approval",
            "tool.failed",
            "step.completed",
            "run.failed"
        ]
    );
    assert_eq!(story.commits.last().unwrap().gate, Gate::RequireApproval);
}

#[test]
fn an_approval_is_asked_only_for_the_call_whose_turn_it_is() {
    let mut story = Story::calling(&[&["pay", "renew"]]);
    let first = story.wanted();
    let second = story.state.progress.as_ref().unwrap().plan.steps[0].calls[1].clone();
    let (asked, _) = ask(&story.state, &first, &enforced());
    let turn = story.turn();
    let request = request(&story.state, &second, &asked);
    assert!(decide::park_for_approval(&story.state, turn, &first, &[asked], request).is_err());
}

#[test]
fn a_call_that_was_interrupted_may_need_approval_to_be_made_again() {
    let mut story = Story::calling(&[&["renew"]]).under(snapshot("default = \"allow\""));
    assert_eq!(story.work_well(), Did::Invoked);
    story.crash();
    story = story.under(enforced());
    assert_eq!(story.work_well(), Did::Parked);
    assert_eq!(
        story.last(),
        [
            "run.resumed",
            "policy.requires_approval",
            "approval.requested",
            "run.suspended"
        ]
    );
    let mut refused = story.clone();
    refused.decide_approval(false);
    assert_eq!(executions(&refused), 1, "it may have been executed before");
    story.decide_approval(true);
    assert_eq!(story.work_off(), RunStatus::Succeeded);
}

#[test]
fn a_call_that_was_interrupted_and_is_denied_now_tells_that_it_was_made() {
    let mut story = Story::calling(&[&["read"]]);
    assert_eq!(story.work_well(), Did::Invoked);
    story.crash();
    story = story.under(snapshot("default = \"deny\""));
    assert_eq!(story.work_well(), Did::Refused);
    assert_eq!(
        story.last(),
        [
            "run.resumed",
            "policy.denied",
            "tool.failed",
            "step.completed",
            "run.failed"
        ]
    );
    assert_eq!(executions(&story), 1, "it may have been executed before");
}

fn executions(story: &Story) -> u32 {
    story
        .last_bodies()
        .iter()
        .find_map(|body| match body {
            EventBody::ToolFailed(failed) => Some(failed.executions),
            _ => None,
        })
        .unwrap()
}

#[test]
fn a_repetition_of_a_call_that_was_made_in_time_does_not_lapse() {
    let mut story = parked("renew");
    story.decide_approval(true);
    assert_eq!(story.work_well(), Did::Invoked);
    story.crash();
    // The time in which the approval could be given and used is over when the next worker takes over.
    let progress = story.state.progress.as_mut().unwrap();
    let spent = progress.open_call.as_mut().unwrap().spent.as_mut().unwrap();
    spent.request.expires_at = noon();
    assert_eq!(story.work_well(), Did::Invoked);
}
