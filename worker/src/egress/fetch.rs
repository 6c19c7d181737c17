//! A request with all its redirects: hop by hop through the gate.

use bytes::Bytes;
use gatewright_policy::{
    host::Target,
    redact::{self, Secrets},
};
use gatewright_schemas::{
    ErrorInfo, EventBody, ReasonCode, Stage,
    event::{EgressAllowed, EgressBlocked},
};
use hyper::{HeaderMap, Method};
use tokio::time::Instant;
use url::Url;

use super::{
    Gateway, HopAnswer, HopRequest,
    connect::{Outgoing, Stop},
    exchange::{Progress, Response},
    headers,
    order::{Order, first_hop, url_invalid},
    redirect,
};
use crate::tool::{Call, CallFacts, ExecutionError, TookEffect};

/// The last answer and where it came from.
pub(crate) struct Fetched {
    /// The HTTP status.
    pub status: u16,
    /// The headers, secret ones redacted.
    pub headers: serde_json::Map<String, serde_json::Value>,
    /// The body as it came.
    pub body: Bytes,
    /// The URL of the last hop, as events show it.
    pub final_url: String,
}

/// A request on its way through its hops.
struct Journey<'a> {
    gateway: &'a Gateway,
    call: &'a Call<'a>,
    secrets: &'a Secrets,
    facts: CallFacts,
    max_body: usize,
    deadline: Instant,
    events: Vec<EventBody>,
    hop: HopRequest,
    method: Method,
    headers: HeaderMap,
    body: Bytes,
}

impl Gateway {
    /// Makes the call's request and follows its redirects. Also tells the `egress.*` events, all but the first `egress.requested`.
    pub(crate) async fn fetch(
        &self,
        call: &Call<'_>,
        max_output: usize,
        secrets: &Secrets,
    ) -> (Result<Fetched, ExecutionError>, Vec<EventBody>) {
        let order = Order::read(&call.tool_call_id, call.input());
        let hop = match first_hop(&call.tool_call_id, call.input()) {
            Ok(hop) => hop,
            Err(error) => return (Err(ExecutionError::final_failure(error)), Vec::new()),
        };
        let mut journey = Journey {
            gateway: self,
            call,
            facts: order.facts,
            secrets,
            max_body: call.rules.max_body.min(max_output),
            deadline: Instant::now() + order.timeout.min(call.rules.timeout),
            events: Vec::new(),
            hop,
            method: order.method,
            headers: order.headers,
            body: order.body,
        };
        let outcome = journey.run(order.follow_redirects).await;
        (outcome, journey.events)
    }
}

impl Journey<'_> {
    async fn run(&mut self, follow_redirects: bool) -> Result<Fetched, ExecutionError> {
        loop {
            let response = self.one_hop().await?;
            let location = redirect::location(response.status, &response.headers)
                .filter(|_| follow_redirects)
                .map(<[u8]>::to_vec);
            let Some(location) = location else {
                return Ok(Fetched {
                    status: response.status.as_u16(),
                    headers: headers::to_json(&response.headers, &self.call.rules.marks),
                    body: response.body,
                    final_url: self.secrets.clean_text(&redact::url(self.hop.target.url())),
                });
            };
            self.turn_to(&location, &response)?;
        }
    }

    /// Asks the gate, sends the request, tells what came of it.
    async fn one_hop(&mut self) -> Result<Response, ExecutionError> {
        match self.call.gate.ask(&self.hop).await {
            HopAnswer::Permit(permit) if self.hop.is_covered_by(&permit) => {}
            HopAnswer::Permit(_) => {
                let reason = "the permit was given for another request than this hop's";
                let code = ReasonCode::PolicyEvaluationError;
                return Err(self.blocked(ErrorInfo::new(Stage::Egress, code, reason)));
            }
            HopAnswer::Blocked(record) => {
                return Err(self.blocked(ErrorInfo::blocked(Stage::Egress, &record)));
            }
        }
        let outgoing = Outgoing {
            hop: &self.hop,
            method: &self.method,
            headers: &self.headers,
            body: self.body.clone(),
            max_body: self.max_body,
            rules: self.call.rules,
        };
        let mut progress = Progress::default();
        let sending = self.gateway.send(outgoing, &mut progress);
        let done = tokio::time::timeout_at(self.deadline, sending).await;
        match done.unwrap_or_else(|_| Err(out_of_time())) {
            Ok(response) => {
                self.tell_allowed(&progress);
                Ok(response)
            }
            Err(Stop::Refused(error)) => Err(self.blocked(error)),
            Err(Stop::Failed {
                mut error,
                transient,
            }) => {
                error.reason = self.secrets.clean_text(&error.reason);
                self.tell_allowed(&progress);
                Err(ExecutionError {
                    info: error,
                    retry: transient && self.facts.idempotent,
                    took_effect: self.took_effect(&progress),
                })
            }
        }
    }

    /// Makes the next hop out of a redirect, or refuses it.
    fn turn_to(&mut self, location: &[u8], response: &Response) -> Result<(), ExecutionError> {
        let from = self.hop.target.url().clone();
        let joined = std::str::from_utf8(location)
            .ok()
            .map(|text| self.hop.target.join(text));
        self.hop.hop += 1;
        let target: Target = match joined {
            Some(Ok(target)) => target,
            Some(Err(error)) => return Err(self.blocked_without_url(url_invalid(error.problem))),
            None => {
                let error = url_invalid(gatewright_policy::host::HostProblem::Malformed);
                return Err(self.blocked_without_url(error));
            }
        };
        let (method, keeps_body) = redirect::next_method(response.status, &self.method);
        if !keeps_body {
            self.body = Bytes::new();
            headers::without_body(&mut self.headers);
        }
        if !is_same_origin(&from, target.url()) {
            headers::for_another_origin(&mut self.headers, &self.call.rules.marks);
        }
        self.hop.method = method.as_str().to_owned();
        self.method = method;
        self.hop.target = target;
        self.events.push(self.hop.requested(self.secrets));

        if from.scheme() == "https" && self.hop.target.url().scheme() == "http" {
            let reason = "the server redirects from https to http";
            let error = ErrorInfo::new(Stage::Egress, ReasonCode::EgressUrlInvalid, reason);
            return Err(self.blocked(error));
        }
        if self.hop.hop > self.call.rules.max_redirects {
            let most = self.call.rules.max_redirects;
            let reason = format!("the server redirects more than {most} times");
            let error = ErrorInfo::new(Stage::Egress, ReasonCode::EgressTooManyRedirects, reason);
            return Err(self.blocked(error));
        }
        Ok(())
    }

    fn tell_allowed(&mut self, progress: &Progress) {
        self.events.push(EventBody::EgressAllowed(EgressAllowed {
            tool_call_id: self.hop.tool_call_id.clone(),
            hop: self.hop.hop,
            host: self.secrets.clean_text(self.hop.host().as_str()),
            address: progress.address.map(|address| address.to_string()),
            status: progress.status,
        }));
    }

    fn blocked(&mut self, error: ErrorInfo) -> ExecutionError {
        let host = self.secrets.clean_text(self.hop.host().as_str());
        self.tell_blocked(host, error)
    }

    fn blocked_without_url(&mut self, error: ErrorInfo) -> ExecutionError {
        self.tell_blocked(String::new(), error)
    }

    fn tell_blocked(&mut self, host: String, mut error: ErrorInfo) -> ExecutionError {
        error.reason = self.secrets.clean_text(&error.reason);
        self.events.push(EventBody::EgressBlocked(EgressBlocked {
            tool_call_id: self.hop.tool_call_id.clone(),
            hop: self.hop.hop,
            host,
            error: error.clone(),
        }));
        ExecutionError {
            info: error,
            retry: false,
            took_effect: self.took_effect(&Progress::default()),
        }
    }

    /// Whether the call took effect, this hop having come as far as `progress` says.
    fn took_effect(&self, progress: &Progress) -> TookEffect {
        // A write that was turned into a GET is not repeated by it: the server that redirected has answered.
        let writes = !matches!(self.method, Method::GET | Method::HEAD | Method::OPTIONS);
        match (progress.sent, progress.status) {
            (true, None) if writes => self.facts.unanswered(),
            (false, _) if self.hop.hop == 0 => TookEffect::No,
            _ => self.facts.answered(),
        }
    }
}

fn is_same_origin(one: &Url, other: &Url) -> bool {
    one.origin() == other.origin()
}

fn out_of_time() -> Stop {
    let reason = "the request took longer than its `timeout_ms`".to_owned();
    Stop::failed(ReasonCode::ToolTimeout, reason, true)
}
