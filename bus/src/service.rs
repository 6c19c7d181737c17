//! Asking a service of somebody else's: one request, one reply, over core NATS.
//!
//! Nothing is stored on the way. Whether a request that was not answered arrived, nobody knows.

use std::time::Duration;

use async_nats::{HeaderMap, Request, client::RequestErrorKind};
use gatewright_schemas::{RunId, ToolCallId, WorkspaceId};

use crate::Fleet;

/// Names the call: the idempotency key. A stream that takes the request takes it once.
const IDEMPOTENCY: [&str; 2] = ["Nats-Msg-Id", "Idempotency-Key"];
/// Name the run that asks.
const WORKSPACE: &str = "Gatewright-Workspace-Id";
const RUN: &str = "Gatewright-Run-Id";

/// A service says with these that it failed (NATS's own convention, ADR-32).
const ERROR: &str = "Nats-Service-Error";
const ERROR_CODE: &str = "Nats-Service-Error-Code";

/// On whose behalf a service is asked.
#[derive(Debug, Clone, Copy)]
pub struct Asker<'a> {
    /// The run's workspace.
    pub workspace: &'a WorkspaceId,
    /// The run.
    pub run: &'a RunId,
    /// The call.
    pub call: &'a ToolCallId,
}

/// Why a service gave no answer that can be used.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// Nobody listens: the request reached nobody.
    #[error("nobody listens on `{subject}`")]
    NobodyListens {
        /// Where it was sent.
        subject: String,
    },
    /// The server refuses this credential the subject: the request reached nobody.
    #[error("this credential may not publish to `{subject}`")]
    NotPermitted {
        /// Where it was sent.
        subject: String,
    },
    /// It was not sent.
    #[error("the request could not be sent: {reason}")]
    NotSent {
        /// What the client says.
        reason: String,
    },
    /// No answer came in time, or the connection broke. It may have arrived.
    #[error("no answer came from `{subject}` within {} ms", waited.as_millis())]
    NoAnswer {
        /// Where it was sent.
        subject: String,
        /// How long it was waited for.
        waited: Duration,
    },
    /// The service says that it failed.
    #[error("the service answered with the error {code}: {text}")]
    Failed {
        /// `Nats-Service-Error-Code`
        code: String,
        /// `Nats-Service-Error`
        text: String,
    },
}

impl Fleet {
    /// Asks the service on `subject` and waits for one reply.
    pub async fn ask_service(
        &self,
        subject: &str,
        asker: Asker<'_>,
        payload: Vec<u8>,
        patience: Duration,
    ) -> Result<Vec<u8>, ServiceError> {
        let mut headers = HeaderMap::new();
        for name in IDEMPOTENCY {
            headers.insert(name, asker.call.as_str());
        }
        headers.insert(WORKSPACE, asker.workspace.as_str());
        headers.insert(RUN, asker.run.as_str());
        let request = Request::new()
            .headers(headers)
            .payload(payload.into())
            .timeout(Some(patience));
        let named = || subject.to_owned();
        let answer =
            self.client
                .send_request(named(), request)
                .await
                .map_err(|error| match error.kind() {
                    RequestErrorKind::NoResponders => {
                        ServiceError::NobodyListens { subject: named() }
                    }
                    RequestErrorKind::InvalidSubject | RequestErrorKind::MaxPayloadExceeded => {
                        ServiceError::NotSent {
                            reason: error.to_string(),
                        }
                    }
                    _ if self.was_refused(subject) => {
                        ServiceError::NotPermitted { subject: named() }
                    }
                    RequestErrorKind::TimedOut | RequestErrorKind::Other => {
                        ServiceError::NoAnswer {
                            subject: named(),
                            waited: patience,
                        }
                    }
                })?;
        let said = |name| {
            let headers = answer.headers.as_ref()?;
            Some(headers.get(name)?.as_str().to_owned())
        };
        match (said(ERROR), said(ERROR_CODE)) {
            (None, None) => Ok(answer.payload.into()),
            (text, code) => Err(ServiceError::Failed {
                code: code.unwrap_or_default(),
                text: text.unwrap_or_default(),
            }),
        }
    }
}
