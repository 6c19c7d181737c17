//! Executing a call that the gate allowed and whose intent is stored.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use gatewright_bus::{authority::LiveSnapshot, retry::Retry};
use gatewright_policy::{Grant, Permit, ToolCallRequest};
use gatewright_run::{
    Decided, PlannedCall,
    decide::{self, Outcome, Undecided},
};
use gatewright_schemas::{ErrorInfo, EventBody, OnUnknownOutcome, Stage};

use crate::{
    Worker,
    ask::{Permitted, Purses},
    egress::{HopAnswer, HopGate, HopRequest, Secrets},
    purse::{Purse, answered, ask_egress, ask_tool},
    recorded::{HopAnswers, cleaned},
    span,
    tool::{BoxFuture, Call, Execution, TookEffect, execute_with_limits},
    turn::{AtHand, TurnError},
};

/// The gate for the hops of one call. Each hop that may happen consumes a unit of the limit of requests to the outside.
struct Hops<'a> {
    authority: &'a LiveSnapshot,
    call: &'a ToolCallRequest,
    grant: Option<&'a Grant>,
    /// The unit that was reserved before the intent was stored is for hop 0.
    purse: tokio::sync::Mutex<Purse>,
    /// The limits that hops reached, to be recorded.
    told: Mutex<Vec<EventBody>>,
    /// What the gate said of redirects, to be recorded with them.
    answers: HopAnswers,
}

impl HopGate for Hops<'_> {
    fn ask<'a>(&'a self, hop: &'a HopRequest) -> BoxFuture<'a, HopAnswer> {
        Box::pin(async move {
            let request = hop.of_call(self.call);
            let mut purse = self.purse.lock().await;
            let (answer, exceeded) =
                answered(self.authority, &mut purse, |snapshot, now, purse| {
                    ask_egress(snapshot, &request, self.grant, now, purse)
                })
                .await;
            // In shadow mode hop 0 is made all the same, and the intent's commit says already what it met.
            if answer.is_blocked() || hop.hop > 0 {
                self.tell(exceeded.map(EventBody::QuotaExceeded));
            }
            let answer = self.answers.keep(request, answer);
            if matches!(answer, HopAnswer::Permit(_)) {
                purse.spend();
            }
            answer
        })
    }
}

impl Hops<'_> {
    fn tell(&self, event: Option<EventBody>) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.extend(event);
    }

    fn take_told(&self) -> Vec<EventBody> {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut told)
    }
}

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
            purses: Purses {
                tool: mut purse,
                egress,
            },
        } = permitted;
        let gate = Hops {
            authority: &self.0.authority,
            call: &request,
            grant: grant.as_ref(),
            purse: tokio::sync::Mutex::new(egress),
            told: Mutex::default(),
            answers: HopAnswers::default(),
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
            let permit = if let Some(permit) = permit.take() {
                permit
            } else {
                let secrets = order.secrets();
                let (answer, reached) = self
                    .ask_again(&request, grant.as_ref(), &secrets, &mut purse)
                    .await;
                events.extend(reached);
                match answer {
                    Ok(permit) => permit,
                    Err(error) => break (Err(error), TookEffect::Answered),
                }
            };
            executions += 1;
            let executing = async {
                purse.spend();
                let span = span::of_execution(&call.tool_call_id, &call.tool_name, executions);
                let executing = execute_with_limits(resolved.tool.as_ref(), permit, &order);
                let execution = span.within(executing).await;
                if let Err(error) = &execution.outcome {
                    span.failed(error.info.reason_code.as_str());
                }
                execution
            };
            let execution = tokio::select! {
                biased;
                () = hand.hold.interrupted.cancelled() => return Err(TurnError::Interrupted),
                execution = executing => execution,
            };
            let Execution {
                outcome,
                events: mut told,
            } = execution;
            events.extend(gate.take_told());
            let question = (&request, grant.as_ref());
            gate.answers
                .tell(&hand.run.state, call, question, &order.secrets(), &mut told)?;
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

        let outcome = Outcome {
            result,
            events,
            executions,
            duration_us,
        };
        Ok(self.conclude(hand, call, outcome, took_effect)?)
    }

    /// What is recorded of an execution that is over. Of one that may have taken effect, a person is asked where the run wishes so.
    fn conclude(
        &self,
        hand: &AtHand<'_>,
        call: &PlannedCall,
        outcome: Outcome,
        took_effect: TookEffect,
    ) -> Result<Decided, Undecided> {
        let state = &hand.run.state;
        let progress = state.progress.as_ref().ok_or(Undecided::NotFound)?;
        let asks = progress.created.submission.input.runtime.on_unknown_outcome
            == OnUnknownOutcome::AskHuman;
        match (&outcome.result, &progress.open_call) {
            (Err(error), Some(open)) if asks && took_effect == TookEffect::Unknown => {
                let (why, terms) = (error.reason.clone(), self.terms());
                decide::lose(state, None, call, open, outcome.events, &why, terms)
            }
            _ => decide::conclude(state, call, outcome),
        }
    }

    /// A repetition passes the gate like any other call: what was revoked meanwhile holds at once, and it consumes like one.
    ///
    /// Also answers with the event of the limit that is reached, if one is.
    async fn ask_again(
        &self,
        request: &ToolCallRequest,
        grant: Option<&Grant>,
        secrets: &Secrets,
        purse: &mut Purse,
    ) -> (Result<Permit, ErrorInfo>, Option<EventBody>) {
        let (answer, exceeded) = answered(&self.0.authority, purse, |snapshot, now, purse| {
            ask_tool(snapshot, request, grant, now, purse)
        })
        .await;
        let permit = match answer.into_parts() {
            (_, Some(permit)) => Ok(permit),
            (record, None) => {
                let record = cleaned(record, request, secrets);
                Err(ErrorInfo::blocked(Stage::ToolPolicy, &record))
            }
        };
        (permit, exceeded.map(EventBody::QuotaExceeded))
    }
}
