//! A tool that is a service on NATS: the input in a request, its answer in the reply.
//!
//! The request carries the call's id as `Idempotency-Key` and `Nats-Msg-Id`. A service that fails says so with
//! `Nats-Service-Error` and `Nats-Service-Error-Code`. A write that is not answered in time may have happened.

use std::{sync::Arc, time::Duration};

use gatewright_bus::{
    Fleet,
    service::{Asker, ServiceError},
};
use gatewright_policy::Permit;
use gatewright_schemas::{ErrorInfo, ReasonCode, Stage};
use serde_json::Value;

use super::answer::Answer;
use crate::tool::{BoxFuture, Call, Definition, Execution, ExecutionError, TookEffect, Tool};

/// Which service.
#[derive(Debug, Clone)]
pub(super) struct Service {
    pub(super) subject: String,
    pub(super) time: Duration,
}

/// A service as a tool.
pub struct ServiceTool {
    definition: Arc<Definition>,
    answer: Arc<Answer>,
    service: Service,
    fleet: Option<Fleet>,
}

impl ServiceTool {
    pub(super) fn new(
        definition: Arc<Definition>,
        answer: Arc<Answer>,
        service: Service,
        fleet: Option<Fleet>,
    ) -> Self {
        Self {
            definition,
            answer,
            service,
            fleet,
        }
    }

    async fn ask(&self, call: &Call<'_>) -> Result<Value, ExecutionError> {
        let facts = self.facts(call.input());
        let failed = |code, reason: String| ErrorInfo::new(Stage::Execution, code, reason);
        let Some(fleet) = &self.fleet else {
            let reason = "this program has no connection to a fleet".to_owned();
            let info = failed(ReasonCode::ToolExecutionFailed, reason);
            return Err(ExecutionError::final_failure(info));
        };
        let asker = Asker {
            workspace: &call.workspace_id,
            run: &call.run_id,
            call: &call.tool_call_id,
        };
        let Service { subject, time } = &self.service;
        let payload = call.input().to_string().into();
        let reply = fleet.ask_service(subject, asker, payload, *time).await;
        let reply = reply.map_err(|error| {
            let (code, retry, took_effect) = match &error {
                ServiceError::NobodyListens { .. } => (
                    ReasonCode::ToolExecutionFailed,
                    facts.idempotent,
                    TookEffect::No,
                ),
                ServiceError::NotPermitted { .. } | ServiceError::NotSent { .. } => {
                    (ReasonCode::ToolExecutionFailed, false, TookEffect::No)
                }
                ServiceError::NoAnswer { .. } => (
                    ReasonCode::ToolTimeout,
                    facts.idempotent,
                    facts.unanswered(),
                ),
                ServiceError::Failed { .. } => {
                    (ReasonCode::ToolExecutionFailed, false, facts.answered())
                }
            };
            let reason: String = error
                .to_string()
                .chars()
                .take(600)
                .flat_map(char::escape_debug)
                .collect();
            ExecutionError {
                info: failed(code, reason),
                retry,
                took_effect,
            }
        })?;
        let answer = self.answer.read(&reply, "the service's reply");
        answer.map_err(|info| ExecutionError {
            info,
            retry: false,
            took_effect: facts.answered(),
        })
    }
}

impl Tool for ServiceTool {
    fn definition(&self) -> &Definition {
        &self.definition
    }

    fn execute<'a>(&'a self, permit: Permit, call: &'a Call<'_>) -> BoxFuture<'a, Execution> {
        Box::pin(async move {
            if let Err(refused) = call.accept(&permit, &self.definition) {
                return Execution::quiet(Err(refused));
            }
            Execution::quiet(self.ask(call).await)
        })
    }
}
