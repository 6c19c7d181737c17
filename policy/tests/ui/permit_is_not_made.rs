use gatewright_policy::{EgressPermit, Permit};
use gatewright_schemas::{Digest, ToolCallId};

fn main() {
    let call = ToolCallId::new("acme.r1.1.1").unwrap();
    let digest = Digest::of_bytes(b"");
    let _ = Permit { tool_call_id: call.clone(), definition_digest: digest.clone(), input_digest: digest.clone() };
    let _ = Permit::new(call, digest.clone(), digest);
    let _ = Permit::default();
    let _ = EgressPermit::default();
}
