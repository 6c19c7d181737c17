//! Executing a call that the gate allowed and whose intent is stored.

use std::time::{Duration, Instant};

use gatewright_bus::{clock, retry::Retry};
use gatewright_run::{
    Decided, PlannedCall,
    decide::{self, Outcome, Undecided},
};
use gatewright_schemas::{ErrorInfo, OnUnknownOutcome, Stage};

use crate::{
    Worker,
    ask::{Permitted, ask_egress, ask_tool},
    egress::{HopAnswer, HopRequest},
    tool::{Call, Execution, TookEffect, execute_with_limits},
    turn::{AtHand, TurnError},
};

impl Worker {
    /// Executes the call, again where it may be repeated, and decides what is recorded of it.
    pub(crate) async fn execute(
        &self,
        hand: &AtHand<'_>,
        call: &PlannedCall,
        permitted: Permitted,
        is_fresh: bool,
    ) -> Result<Decided, TurnError> {
        let Permitted {
            permit,
            resolved,
            request,
            input,
            grant,
            rules,
        } = permitted;
        let gate = |hop: &HopRequest| {
            let hop_request = hop.of_call(&request);
            let answer = self
                .0
                .authority
                .read(|snapshot| ask_egress(snapshot, &hop_request, grant.as_ref(), clock::now()));
            match answer.into_parts() {
                (_, Some(permit)) => HopAnswer::Permit(permit),
                (record, None) => HopAnswer::Blocked(record),
            }
        };
        let run = (&request.workspace_id, &request.run_id);
        let order = Call::new(run, call.tool_call_id.clone(), input, &rules, &gate);
        let most = if resolved.facts.idempotent {
            resolved.definition().max_executions.max(1)
        } else {
            1
        };

        let began = Instant::now();
        let mut retry = Retry::forever(Duration::from_millis(200), Duration::from_secs(5));
        let mut events = Vec::new();
        // A permit that got old is dropped, and the gate is asked again.
        let mut permit = Some(permit).filter(|_| is_fresh);
        let mut executions = 0;
        let (result, took_effect) = loop {
            // A repetition passes the gate like any other call: what was revoked meanwhile holds at once.
            let permit = if let Some(permit) = permit.take() {
                permit
            } else {
                let answer = self
                    .0
                    .authority
                    .read(|snapshot| ask_tool(snapshot, &request, grant.as_ref(), clock::now()));
                match answer.into_parts() {
                    (_, Some(permit)) => permit,
                    (record, None) => {
                        let error = ErrorInfo::blocked(Stage::ToolPolicy, &record);
                        break (Err(error), TookEffect::Answered);
                    }
                }
            };
            executions += 1;
            let execution = tokio::select! {
                biased;
                () = hand.hold.interrupted.cancelled() => return Err(TurnError::Interrupted),
                execution = execute_with_limits(resolved.tool.as_ref(), permit, &order) => execution,
            };
            let Execution {
                outcome,
                events: told,
            } = execution;
            events.extend(told);
            match outcome {
                Ok(output) => break (Ok(output), TookEffect::Answered),
                Err(error) if error.retry && executions < most => {
                    tracing::info!(tool_call.id = %call.tool_call_id, error = %error.info.reason, executions, "a call failed for now and is repeated");
                    retry.wait().await;
                }
                Err(error) => break (Err(error.info), error.took_effect),
            }
        };
        let duration_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);

        let state = &hand.run.state;
        let Some(progress) = &state.progress else {
            return Err(Undecided::NotFound.into());
        };
        let asks = progress.created.submission.input.runtime.on_unknown_outcome
            == OnUnknownOutcome::AskHuman;
        if let (Err(error), TookEffect::Unknown, true, Some(open)) =
            (&result, took_effect, asks, &progress.open_call)
        {
            return Ok(decide::lose(
                state,
                None,
                call,
                open,
                events,
                &error.reason,
                self.terms(),
            )?);
        }
        Ok(decide::conclude(
            state,
            call,
            Outcome {
                result,
                events,
                executions,
                duration_us,
            },
        )?)
    }
}
