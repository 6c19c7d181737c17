//! Who may decide an approval, when enough people have, and what is covered by one that is remembered.

use std::time::Duration;

use gatewright_schemas::{
    Decision, Finding, ReasonCode, RememberedApproval, RememberedApprovalId, Timestamp,
    WorkspaceId,
    event::{ApprovalQuestion, ApprovalRequested, Likeness},
    reference,
};

use crate::{document::Approvals, grant::approvable};

/// Where an approval stands after a yes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tally {
    /// Enough people said yes.
    Granted,
    /// So many more are needed.
    Pending {
        /// How many.
        missing: usize,
    },
}

/// Why somebody's yes does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VoteRefused {
    /// Whoever asked for the call may not approve it.
    #[error("whoever asked for a call may not approve it")]
    Requester,
    /// Everybody has one vote.
    #[error("the same approver has approved already")]
    VotedAlready,
}

/// Counts the yes of `approver`. `at_least` is how many the asking run was told have to say yes.
///
/// `approver` and `earlier` are credentials' names, never what a request's body says of itself.
/// `requesters` are all names that are known of the asking side: the actor's id, the principal's id, the actor that the authority
/// knows the principal as.
pub fn count(
    rules: &Approvals,
    at_least: u8,
    requesters: &[&str],
    earlier: &[&str],
    approver: &str,
) -> Result<Tally, VoteRefused> {
    let same = |name: &&str| name.trim().eq_ignore_ascii_case(approver.trim());
    if rules.requester_may_not_approve && requesters.iter().any(same) {
        return Err(VoteRefused::Requester);
    }
    if earlier.iter().any(same) {
        return Err(VoteRefused::VotedAlready);
    }
    let wanted = usize::from(rules.approvers.max(at_least));
    let missing = wanted.saturating_sub(earlier.len() + 1);
    Ok(if missing == 0 {
        Tally::Granted
    } else {
        Tally::Pending { missing }
    })
}

/// By what a later call would be like this one, were its approval remembered.
///
/// By its host only where that bounds what it can do: it is the one host that the call names, it is reached through the egress gateway
/// alone, and nothing was objected to but the host, the writing or the tool as such. A command that merely mentions a host is like
/// another only in full.
pub fn likeness<'a>(
    through_gateway: bool,
    hosts: &[String],
    findings: impl IntoIterator<Item = &'a Finding>,
) -> Likeness {
    let is_about_the_host = |finding: &Finding| {
        finding.decision != Decision::RequireApproval
            || matches!(
                finding.reason_code,
                ReasonCode::DomainNotAllowlisted
                    | ReasonCode::ExternalWriteRequiresApproval
                    | ReasonCode::ToolRequiresApproval
                    | ReasonCode::DefaultRequiresApproval
            )
    };
    let names_one_host = matches!(hosts, [_]);
    if through_gateway && names_one_host && findings.into_iter().all(is_about_the_host) {
        Likeness::Hosts
    } else {
        Likeness::Input
    }
}

/// Why an approval cannot hold for like calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotMemorable {
    /// It is about no call that could be made again.
    #[error("the question is not about a call to make")]
    NoCall,
    /// Everybody who names nobody would be covered.
    #[error("the call is made on nobody's authority: name a principal")]
    Nobody,
    /// Recorded, hashed and shown are references, and another run's references stand for other secrets.
    #[error("the input holds secrets, which another call's input could not be compared with")]
    Secrets,
}

/// The approval of `request` as one that holds for like calls.
pub fn remember(
    request: &ApprovalRequested,
    remembered_id: RememberedApprovalId,
    workspace_id: WorkspaceId,
    approved_by: Vec<String>,
    remembered_at: Timestamp,
    holds_for: Duration,
) -> Result<RememberedApproval, NotMemorable> {
    let (Some(decision), Some(effect)) = (&request.decision, request.effect) else {
        return Err(NotMemorable::NoCall);
    };
    if request.question != ApprovalQuestion::MakeTheCall {
        return Err(NotMemorable::NoCall);
    }
    let (Some(principal_id), Some(actor)) = (&request.principal_id, &request.asked_by) else {
        return Err(NotMemorable::Nobody);
    };
    let input_digest = match request.likeness {
        Likeness::Input if reference::occur_in(&request.input) => {
            return Err(NotMemorable::Secrets);
        }
        Likeness::Input => Some(request.input_digest.clone()),
        Likeness::Hosts => None,
    };
    Ok(RememberedApproval {
        remembered_id,
        workspace_id,
        approval_id: request.approval_id.clone(),
        principal_id: principal_id.clone(),
        actor: actor.clone(),
        tool_name: request.tool_name.clone(),
        definition_digest: request.definition_digest.clone(),
        hosts: request.hosts.clone(),
        input_digest,
        effect,
        sandbox_profile: request
            .sandbox_profile
            .as_ref()
            .map(|profile| profile.digest.clone()),
        findings: approvable([decision]),
        approved_by,
        remembered_at,
        expires_at: remembered_at.plus(holds_for),
        revoked_at: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_yes_is_enough_where_one_is_asked_for() {
        assert_eq!(
            count(&Approvals::default(), 1, &["agent-7"], &[], "ann"),
            Ok(Tally::Granted)
        );
    }

    #[test]
    fn two_approvers_are_two_people() {
        let rules = Approvals {
            approvers: 2,
            ..Approvals::default()
        };
        assert_eq!(
            count(&rules, 1, &[], &[], "ann"),
            Ok(Tally::Pending { missing: 1 })
        );
        assert_eq!(
            count(&rules, 1, &[], &["ann"], "Ann "),
            Err(VoteRefused::VotedAlready)
        );
        assert_eq!(count(&rules, 1, &[], &["ann"], "bob"), Ok(Tally::Granted));
    }

    #[test]
    fn a_run_that_was_told_of_two_approvers_gets_two() {
        assert_eq!(
            count(&Approvals::default(), 2, &[], &[], "ann"),
            Ok(Tally::Pending { missing: 1 })
        );
    }

    #[test]
    fn nobody_approves_their_own_call() {
        let asked = ["ops-bot", "ann"];
        assert_eq!(
            count(&Approvals::default(), 1, &asked, &[], "ann"),
            Err(VoteRefused::Requester)
        );
        assert_eq!(
            count(&Approvals::default(), 1, &asked, &[], "ANN"),
            Err(VoteRefused::Requester)
        );
        let lenient = Approvals {
            requester_may_not_approve: false,
            ..Approvals::default()
        };
        assert_eq!(count(&lenient, 1, &asked, &[], "ann"), Ok(Tally::Granted));
    }
}
