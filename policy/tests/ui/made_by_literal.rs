use gatewright_policy::Permit;
use gatewright_schemas::{Digest, ToolCallId};

fn main() {
    let digest = Digest::of_bytes(b"");
    let _ = Permit {
        tool_call_id: ToolCallId::new("acme.r1.1.1").unwrap(),
        definition_digest: digest.clone(),
        input_digest: digest,
        escalated: None,
    };
}
