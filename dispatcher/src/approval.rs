//! Approvals: what a decision does to the run that waits for it, what is remembered of it, and that it lapses in time.
//!
//! A decision does three things, in this order: it is appended behind the run's fence, the run is woken, and the approval is
//! remembered where that was asked for. A crash between them is mended by the redelivery, which finds the decision made and does the rest.

use futures::StreamExt as _;
use gatewright_bus::{
    Illegible, clock, intake::Intake, layout::LayoutError, parked::Parked, retry::Retry,
};
use gatewright_policy::{Snapshot, approval::VoteRefused};
use gatewright_run::{
    Fate, RunState,
    decide::{self, Bench, Undecided, Verdict},
};
use gatewright_schemas::{
    ApprovalId, Command, EventBody, ReasonCode, Reply, RunId, Timestamp, WorkspaceId,
};
use tokio_util::sync::CancellationToken;

use crate::{
    Dispatcher, FRESH, HandleError, PATIENCE,
    authority::Deed,
    command::{accepted, refused},
};

/// Parked runs seen to at once.
const AT_ONCE: usize = 256;

impl Dispatcher {
    /// Carries out a decision, or lets the approval lapse.
    pub(crate) async fn answer_approval(
        &self,
        message: &Intake,
        workspace: &WorkspaceId,
        run_id: &RunId,
        approval_id: &ApprovalId,
        verdict: Verdict,
    ) -> Result<Reply, HandleError> {
        // A person's yes is judged by the rules and names as they are now, never by none.
        let is_persons = matches!(verdict, Verdict::Decided { .. });
        if is_persons && !self.authority.fresh(FRESH, PATIENCE).await {
            return Err(HandleError::NotVisibleYet);
        }
        let answered = self
            .apply(message, workspace, run_id, |state| {
                let (rules, also_known_as) = self
                    .authority
                    .read(|snapshot| (snapshot.approvals(), names_of_asker(snapshot, state)));
                let bench = Bench {
                    rules: &rules,
                    also_known_as: &also_known_as,
                    now: clock::now(),
                };
                decide::answer_approval(state, approval_id, verdict.clone(), &bench)
            })
            .await;
        let run = match answered {
            Ok(run) => run,
            Err(HandleError::Undecided(undecided)) => {
                let run = self.fleet.load_current(workspace, run_id).await?;
                let is_answered = matches!(
                    undecided,
                    Undecided::Answered(_) | Undecided::Vote(VoteRefused::VotedAlready)
                );
                // By this very message, before it was handed out again, or by another that wants the same.
                let is_done = is_done_already(&undecided, &verdict)
                    || (is_answered && self.is_done(message, &run).await?);
                if !is_done {
                    return self
                        .cannot(message, workspace, run_id, approval_id, &verdict, undecided)
                        .await;
                }
                run
            }
            Err(error) => return Err(error),
        };
        let progress = run.state.progress.as_ref();
        let fate = progress.and_then(|progress| progress.fate_of(approval_id));
        let is_counted = progress
            .and_then(|progress| progress.waiting.as_ref())
            .is_some_and(|waiting| waiting.request.approval_id == *approval_id);
        if fate.is_none() && !is_counted {
            // It was seen a moment ago: this view is of a replica that lags.
            return Err(HandleError::NotVisibleYet);
        }
        self.fleet.forget_secrets_if_ended(&run).await;
        // The run first: what is remembered concerns others.
        self.wake_if_queued(&run, "approved").await;
        if matches!(fate, Some(Fate::Approved | Fate::Used)) {
            self.remember(message, workspace, &run.state, approval_id, &verdict)
                .await?;
        }
        // A yes that came too late let the approval lapse.
        if fate == Some(Fate::Expired) && is_persons {
            let undecided = Undecided::Answered(Fate::Expired);
            return self
                .cannot(message, workspace, run_id, approval_id, &verdict, undecided)
                .await;
        }
        Ok(accepted(run_id, run.state.status()))
    }

    /// What is answered to a decision that changes nothing.
    async fn cannot(
        &self,
        message: &Intake,
        workspace: &WorkspaceId,
        run_id: &RunId,
        approval_id: &ApprovalId,
        verdict: &Verdict,
        undecided: Undecided,
    ) -> Result<Reply, HandleError> {
        let code = match &undecided {
            // A replica that lags may not show the question yet that somebody has already seen.
            Undecided::NotWaiting | Undecided::NotFound if message.delivered < 2 => {
                return Err(HandleError::NotVisibleYet);
            }
            Undecided::NotWaiting => Some(ReasonCode::ApprovalNotFound),
            Undecided::NotExpired { expires_at } => {
                // The timer came before its time by this clock, and is spent.
                if *verdict == Verdict::Expired {
                    self.time_approval(workspace, run_id, approval_id, *expires_at)
                        .await;
                }
                None
            }
            Undecided::Answered(Fate::Denied) => Some(ReasonCode::ApprovalDenied),
            Undecided::Answered(Fate::Expired) => Some(ReasonCode::ApprovalExpired),
            Undecided::Answered(Fate::Used) => Some(ReasonCode::ApprovalAlreadyUsed),
            Undecided::Vote(VoteRefused::Requester | VoteRefused::VotedAlready) => {
                Some(ReasonCode::ApproverNotAllowed)
            }
            Undecided::NotFound
            | Undecided::Ended
            | Undecided::NotMemorable { .. }
            | Undecided::Answered(Fate::Approved) => None,
            Undecided::NotExternal
            | Undecided::Busy
            | Undecided::StepNotOpen
            | Undecided::KeyTaken
            | Undecided::TooLong
            | Undecided::Impossible(_) => return Err(undecided.into()),
        };
        tracing::info!(run.id = %run_id, approval.id = %approval_id, %undecided, "a decision changes nothing");
        Ok(refused(run_id, code, &undecided.to_string()))
    }

    /// Makes the approval hold for like calls, where all who said yes wanted that.
    async fn remember(
        &self,
        message: &Intake,
        workspace: &WorkspaceId,
        state: &RunState,
        approval_id: &ApprovalId,
        verdict: &Verdict,
    ) -> Result<(), HandleError> {
        let Verdict::Decided {
            by,
            remember_s: Some(_),
            ..
        } = verdict
        else {
            return Ok(());
        };
        let history = self.fleet.history(workspace, &state.run_id).await?;
        let (mut asked, mut decided) = (None, None);
        for event in history.iter().flat_map(|stored| &stored.commit.events) {
            match event.body()? {
                EventBody::ApprovalRequested(request) if request.approval_id == *approval_id => {
                    asked = Some(request);
                }
                EventBody::ApprovalDecided(answer) if answer.approval_id == *approval_id => {
                    decided = Some((answer, event.occurred_at));
                }
                _ => {}
            }
        }
        let (Some(request), Some((answer, at))) = (asked, decided) else {
            return Err(HandleError::NotVisibleYet);
        };
        let Some(seconds) = answer.remember_s.filter(|_| answer.approved) else {
            return Ok(());
        };
        let mut approved_by = answer.voted_before;
        approved_by.push(answer.by);
        match decide::remembered(state, &request, approved_by, at, seconds) {
            Ok(remembered) => {
                let deed = Deed::Remember(remembered);
                self.record(message, workspace, by, deed).await?;
            }
            // Looked at before the yes was counted.
            Err(error) => {
                tracing::error!(approval.id = %approval_id, %error, "an approval is not remembered");
            }
        }
        Ok(())
    }

    /// Sees to it, until `shutdown`, that every approval lapses in time: the server itself keeps the timer.
    pub(crate) async fn time_approvals(&self, shutdown: &CancellationToken) {
        let mut retry = Retry::for_servers();
        while !shutdown.is_cancelled() {
            if let Err(error) = self.time_parked(shutdown).await {
                tracing::warn!(%error, "approvals are not timed, trying again");
                retry.wait().await;
            }
        }
    }

    async fn time_parked(&self, shutdown: &CancellationToken) -> Result<(), LayoutError> {
        let parked = self.fleet.parked(AT_ONCE).await?;
        let timed =
            parked
                .take_until(shutdown.cancelled())
                .for_each_concurrent(AT_ONCE, |parked| async {
                    match parked {
                        Ok(parked) => self.time_one(&parked).await,
                        Err(error) => tracing::warn!(%error, "the parked runs stumbled"),
                    }
                });
        timed.await;
        Ok(())
    }

    async fn time_one(&self, parked: &Parked) {
        match &parked.commit {
            Ok(stored) => {
                let bodies = stored.commit.events.iter().filter_map(|e| e.body().ok());
                for body in bodies {
                    if let EventBody::ApprovalRequested(request) = body {
                        let (workspace, run) = (&stored.commit.workspace_id, &stored.commit.run_id);
                        let (id, due) = (&request.approval_id, request.expires_at);
                        self.time_approval(workspace, run, id, due).await;
                    }
                }
            }
            // The timer is set by a dispatcher that can read it.
            Err(Illegible::ToThisVersion(error)) => {
                tracing::error!(%error, "a commit that parked a run cannot be read by this version");
                return parked.give_back().await;
            }
            // Nobody could make a timer of it, however often it came.
            Err(error @ Illegible::ToAnyVersion(_)) => {
                tracing::error!(%error, "a commit that parked a run cannot be read");
            }
        }
        parked.ack().await;
    }

    async fn time_approval(
        &self,
        workspace: &WorkspaceId,
        run: &RunId,
        approval_id: &ApprovalId,
        due: Timestamp,
    ) {
        let kind = format!("approval-{}", approval_id.request());
        let command = Command::ExpireApproval {
            approval_id: approval_id.clone(),
        };
        self.set_timer(workspace, run, &kind, due, command).await;
    }
}

/// Whether the run is already as the verdict wants it: it was given twice, or handed out twice.
fn is_done_already(undecided: &Undecided, verdict: &Verdict) -> bool {
    match (undecided, verdict) {
        (Undecided::Answered(_), Verdict::Expired) => true,
        // Another yes with the wish to remember would be accepted and not heard: only the first can say so.
        (
            Undecided::Answered(Fate::Approved | Fate::Used),
            Verdict::Decided {
                approved: true,
                remember_s,
                ..
            },
        ) => remember_s.is_none(),
        (Undecided::Answered(fate), Verdict::Decided { approved, .. }) => {
            *fate == Fate::Denied && !*approved
        }
        _ => false,
    }
}

/// Under what names the asking side is known beside those that the run itself states.
fn names_of_asker(snapshot: &Snapshot, state: &RunState) -> Vec<String> {
    let waiting = state.progress.as_ref().and_then(|p| p.waiting.as_ref());
    let principal = waiting
        .and_then(|waiting| waiting.request.principal_id.as_ref())
        .and_then(|id| snapshot.principal(&state.workspace_id, id));
    principal
        .map(|principal| principal.actor_id.clone())
        .into_iter()
        .collect()
}
