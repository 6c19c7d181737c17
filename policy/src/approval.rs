//! Who may decide an approval, and when enough people have.

use crate::document::Approvals;

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

/// Counts the yes of `approver`.
///
/// `approver` and `earlier` are credentials' names, never what a request's body says of itself.
/// `requesters` are all names that the asking side goes by: the submitter's credential, the actor's id, the principal's id.
pub fn count(
    rules: &Approvals,
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
    let missing = usize::from(rules.approvers).saturating_sub(earlier.len() + 1);
    Ok(if missing == 0 {
        Tally::Granted
    } else {
        Tally::Pending { missing }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_yes_is_enough_where_one_is_asked_for() {
        assert_eq!(
            count(&Approvals::default(), &["agent-7"], &[], "ann"),
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
            count(&rules, &[], &[], "ann"),
            Ok(Tally::Pending { missing: 1 })
        );
        assert_eq!(
            count(&rules, &[], &["ann"], "Ann "),
            Err(VoteRefused::VotedAlready)
        );
        assert_eq!(count(&rules, &[], &["ann"], "bob"), Ok(Tally::Granted));
    }

    #[test]
    fn nobody_approves_their_own_call() {
        let asked = ["ops-bot", "ann"];
        assert_eq!(
            count(&Approvals::default(), &asked, &[], "ann"),
            Err(VoteRefused::Requester)
        );
        assert_eq!(
            count(&Approvals::default(), &asked, &[], "ANN"),
            Err(VoteRefused::Requester)
        );
        let lenient = Approvals {
            requester_may_not_approve: false,
            ..Approvals::default()
        };
        assert_eq!(count(&lenient, &asked, &[], "ann"), Ok(Tally::Granted));
    }
}
