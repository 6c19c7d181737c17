//! What a call may do with the outside: the gate that is asked for each hop, and the policy's rules.

use std::time::Duration;

use gatewright_policy::{
    EgressPermit, EgressRequest, Host, ToolCallRequest,
    document::{self, Cidr},
    host::Target,
    redact::{self, Marks, Secrets},
};
use gatewright_schemas::{DecisionRecord, Digest, EventBody, ToolCallId, event::EgressRequested};

use crate::tool::BoxFuture;

/// Answers whether a hop may happen.
///
/// Asked before every hop, hop 0 included: what was allowed when the intent was recorded may be forbidden by now.
/// It may take its time, since the fleet's quota is reserved before the policy is asked.
/// A closure that answers at once is one too.
pub trait HopGate: Send + Sync {
    /// Asks.
    fn ask<'a>(&'a self, hop: &'a HopRequest) -> BoxFuture<'a, HopAnswer>;
}

impl<F> HopGate for F
where
    F: Fn(&HopRequest) -> HopAnswer + Send + Sync,
{
    fn ask<'a>(&'a self, hop: &'a HopRequest) -> BoxFuture<'a, HopAnswer> {
        Box::pin(std::future::ready(self(hop)))
    }
}

/// The gate's answer to one hop.
#[derive(Debug)]
pub enum HopAnswer {
    /// It may happen (also when the gate objects in shadow mode).
    Permit(EgressPermit),
    /// It may not.
    Blocked(DecisionRecord),
}

/// What the policy says of requests to the outside. Made once for each revision.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Networks that may be reached although they are not public.
    pub exceptions: Vec<Cidr>,
    /// How long connecting to one address may take, and then TLS.
    pub connect_timeout: Duration,
    /// How long a request may take, redirects included.
    pub timeout: Duration,
    /// Bytes that the body of an answer may have.
    pub max_body: usize,
    /// How many redirects of one call are followed.
    pub max_redirects: u32,
    /// What is secret beside what its name shows.
    pub marks: Marks,
}

impl From<&document::Egress> for Rules {
    fn from(egress: &document::Egress) -> Self {
        Self {
            exceptions: egress.address_exceptions.clone(),
            connect_timeout: egress.connect_timeout.duration(),
            timeout: egress.timeout.duration(),
            max_body: usize::try_from(egress.max_response_bytes).unwrap_or(usize::MAX),
            max_redirects: egress.max_redirects,
            marks: Marks::from(egress),
        }
    }
}

/// One request that a call wants to make.
///
/// Not `Debug`: the URL is the one that will be sent, secrets and all.
#[derive(Clone)]
pub struct HopRequest {
    /// The call.
    pub tool_call_id: ToolCallId,
    /// 0 for the call's own request, then one more for each redirect.
    pub hop: u32,
    /// The HTTP method.
    pub method: String,
    /// The URL and host, out of one parse.
    pub target: Target,
    /// The host of hop 0, which the call's input names.
    pub call_host: Host,
    /// The action type: the input's `action`, or what the call's own method makes it. The same on every hop.
    pub action_type: String,
}

impl HopRequest {
    /// The host, as it is matched.
    pub fn host(&self) -> &Host {
        self.target.host()
    }

    /// Digest of the URL as it will be sent; an [`EgressPermit`] names it.
    pub fn url_digest(&self) -> Digest {
        Digest::of_bytes(self.target.url().as_str().as_bytes())
    }

    /// The event that says so, without query values and without the call's secrets.
    pub fn requested(&self, secrets: &Secrets) -> EventBody {
        EventBody::EgressRequested(EgressRequested {
            tool_call_id: self.tool_call_id.clone(),
            hop: self.hop,
            method: self.method.clone(),
            url: secrets.clean_text(&redact::url(self.target.url())),
            host: secrets.clean_text(self.host().as_str()),
            action_type: self.action_type.clone(),
            gate: None,
        })
    }

    /// The question about this hop, of the call that was asked about as `call`.
    pub fn of_call(&self, call: &ToolCallRequest) -> EgressRequest {
        EgressRequest {
            workspace_id: call.workspace_id.clone(),
            room_id: call.room_id.clone(),
            run_id: call.run_id.clone(),
            step_id: call.step_id.clone(),
            tool_call_id: call.tool_call_id.clone(),
            context: call.context.clone(),
            tool: call.tool.clone(),
            input_digest: call.input_digest.clone(),
            hop: self.hop,
            method: self.method.clone(),
            host: self.host().clone(),
            call_host: self.call_host.clone(),
            action_type: self.action_type.clone(),
            url_digest: self.url_digest(),
        }
    }

    /// Whether `permit` was given for this very request.
    pub(super) fn is_covered_by(&self, permit: &EgressPermit) -> bool {
        permit.tool_call_id() == &self.tool_call_id
            && permit.hop() == self.hop
            && permit.method() == self.method
            && permit.host() == self.host()
            && permit.url_digest() == &self.url_digest()
    }
}
