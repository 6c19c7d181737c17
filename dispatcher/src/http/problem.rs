//! Errors as problem documents (RFC 9457).

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use gatewright_bus::{LoadError, layout::LayoutError, request::RequestError};
use gatewright_schemas::{ReasonCode, Violation, event::UnreadableEvent};
use gatewright_store::StoreError;
use schemars::JsonSchema;
use serde_json::{Map, Value, json};

/// A problem as it is written (RFC 9457). Some have further members.
#[derive(Debug, JsonSchema)]
#[expect(dead_code, reason = "it describes what `IntoResponse` writes")]
pub(super) struct Document {
    /// `urn:gatewright:reason:CODE`, or `about:blank`.
    r#type: String,
    /// The status in words.
    title: String,
    status: u16,
    /// What is wrong, for a person.
    detail: String,
    /// The fleet's own code, where it refused.
    reason_code: Option<ReasonCode>,
    /// What is wrong, place by place.
    violations: Option<Vec<Violation>>,
}

/// What went wrong, for the caller.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    detail: String,
    /// The fleet's own code, where the fleet refused.
    reason_code: Option<ReasonCode>,
    violations: Vec<Violation>,
    /// Further members.
    more: Map<String, Value>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            status,
            detail: detail.into(),
            reason_code: None,
            violations: Vec::new(),
            more: Map::new(),
        }
    }

    pub(super) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    pub(super) fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, detail)
    }

    pub(super) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    pub(super) fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail)
    }

    pub(super) fn method_not_allowed() -> Self {
        let detail = "this path does not take that method";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, detail)
    }

    /// What the fleet refused, under its own code.
    pub(super) fn refused(
        code: Option<ReasonCode>,
        reason: impl Into<String>,
        violations: Vec<Violation>,
    ) -> Self {
        Self {
            reason_code: code,
            violations,
            ..Self::new(status_of(code), reason)
        }
    }

    /// The same with another code.
    pub(super) fn with_code(self, code: ReasonCode) -> Self {
        Self {
            reason_code: Some(code),
            ..self
        }
    }

    /// What of the fleet's own codes it bears.
    pub(super) fn reason_code(&self) -> Option<ReasonCode> {
        self.reason_code
    }

    /// The same, but `missing` where what was looked for is not there.
    pub(super) fn unless_missing(self, missing: impl Fn() -> Self) -> Self {
        if self.status == StatusCode::NOT_FOUND {
            missing()
        } else {
            self
        }
    }

    /// The same with a further member.
    pub(super) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.more.insert(name.to_owned(), value.into());
        self
    }

    /// The same with another status.
    pub(super) fn with_status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }
}

/// The status of a refusal. What has no line of its own is at odds with where the run stands.
fn status_of(code: Option<ReasonCode>) -> StatusCode {
    match code {
        Some(
            ReasonCode::SubmissionInvalid
            | ReasonCode::ToolInputInvalid
            | ReasonCode::ToolNotFound
            | ReasonCode::RequestKeyConflict,
        ) => StatusCode::UNPROCESSABLE_ENTITY,
        Some(ReasonCode::ApproverNotAllowed | ReasonCode::ApprovalInputMismatch) => {
            StatusCode::FORBIDDEN
        }
        Some(ReasonCode::ApprovalNotFound) => StatusCode::NOT_FOUND,
        Some(ReasonCode::InternalError | ReasonCode::HistoryUnreadable) => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
        _ => StatusCode::CONFLICT,
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let kind = match self.reason_code {
            Some(code) => format!("urn:gatewright:reason:{code}"),
            None => "about:blank".to_owned(),
        };
        let mut body = self.more;
        body.insert("type".into(), kind.into());
        body.insert(
            "title".into(),
            self.status.canonical_reason().unwrap_or_default().into(),
        );
        body.insert("status".into(), self.status.as_u16().into());
        body.insert("detail".into(), self.detail.into());
        if let Some(code) = self.reason_code {
            body.insert("reason_code".into(), code.as_str().into());
        }
        if !self.violations.is_empty() {
            body.insert("violations".into(), json!(self.violations));
        }
        let mut response = (self.status, Value::Object(body).to_string()).into_response();
        let headers = response.headers_mut();
        let kind = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, kind);
        match self.status {
            StatusCode::UNAUTHORIZED => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            _ => {}
        }
        response
    }
}

impl From<RequestError> for Problem {
    fn from(error: RequestError) -> Self {
        let status = match &error {
            RequestError::NotSent { .. } => StatusCode::SERVICE_UNAVAILABLE,
            RequestError::NoAnswer { .. } => StatusCode::GATEWAY_TIMEOUT,
        };
        Self::new(status, error.to_string())
    }
}

impl From<LoadError> for Problem {
    fn from(error: LoadError) -> Self {
        tracing::warn!(%error, "a request met an error");
        Self::unavailable("a run's history cannot be read now")
    }
}

impl From<UnreadableEvent> for Problem {
    fn from(error: UnreadableEvent) -> Self {
        tracing::error!(%error, "a request met an event that cannot be read");
        let detail = "the run's history cannot be read by this version";
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        Self::new(status, detail).with_code(ReasonCode::HistoryUnreadable)
    }
}

impl From<LayoutError> for Problem {
    fn from(error: LayoutError) -> Self {
        tracing::warn!(%error, "a request met an error");
        Self::unavailable("what the fleet keeps in NATS cannot be read now")
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        tracing::warn!(%error, "a request met an error");
        Self::unavailable("the read tables cannot be read now")
    }
}
