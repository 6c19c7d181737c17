//! The proof that the gate was asked: what a tool's `execute` takes by value.
//!
//! A permit has no public constructor, cannot be cloned and cannot be read from anywhere.
//! So it can be spent once, by whoever asked the gate, on the call it names; everything else does not compile.

use std::sync::Arc;

use gatewright_schemas::{Digest, ToolCallId};

use crate::{document::EscalatedProfile, host::Host};

/// Leave to execute one tool call.
#[derive(Debug)]
#[must_use = "a permit is spent by handing it to the tool; dropped, the call does not happen"]
pub struct Permit {
    tool_call_id: ToolCallId,
    definition_digest: Digest,
    input_digest: Digest,
    escalated: Option<Arc<EscalatedProfile>>,
}

impl Permit {
    /// Only `authorize.rs` calls this, for an answer that does not block.
    pub(crate) fn new(
        tool_call_id: ToolCallId,
        definition_digest: Digest,
        input_digest: Digest,
        escalated: Option<Arc<EscalatedProfile>>,
    ) -> Self {
        Self {
            tool_call_id,
            definition_digest,
            input_digest,
            escalated,
        }
    }

    /// The call that may be executed.
    pub fn tool_call_id(&self) -> &ToolCallId {
        &self.tool_call_id
    }

    /// Digest of the tool definition under which it was judged.
    pub fn definition_digest(&self) -> &Digest {
        &self.definition_digest
    }

    /// Digest of the input with which it may be executed.
    pub fn input_digest(&self) -> &Digest {
        &self.input_digest
    }

    /// What the call gets beside its ordinary sandbox, where it asked for that and the gate allowed it.
    pub fn escalated(&self) -> Option<&Arc<EscalatedProfile>> {
        self.escalated.as_ref()
    }

    /// Whether the permit is for this call, of this tool definition, with this input.
    pub fn covers(&self, call: &ToolCallId, definition: &Digest, input: &Digest) -> bool {
        self.tool_call_id == *call
            && self.definition_digest == *definition
            && self.input_digest == *input
    }
}

/// Leave to send one request to the outside: one hop of one call.
#[derive(Debug)]
#[must_use = "a permit is spent by handing it to the egress gateway; dropped, the request does not happen"]
pub struct EgressPermit {
    tool_call_id: ToolCallId,
    hop: u32,
    method: String,
    host: Host,
    url_digest: Digest,
}

impl EgressPermit {
    /// Only `authorize.rs` calls this, for an answer that does not block.
    pub(crate) fn new(
        tool_call_id: ToolCallId,
        hop: u32,
        method: String,
        host: Host,
        url_digest: Digest,
    ) -> Self {
        Self {
            tool_call_id,
            hop,
            method,
            host,
            url_digest,
        }
    }

    /// The call that sends the request.
    pub fn tool_call_id(&self) -> &ToolCallId {
        &self.tool_call_id
    }

    /// 0 for the call's own request, then one more for each redirect.
    pub fn hop(&self) -> u32 {
        self.hop
    }

    /// The HTTP method that may be used.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// The host that may be contacted, as it was matched.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Digest of the URL that may be requested.
    pub fn url_digest(&self) -> &Digest {
        &self.url_digest
    }
}
