use gatewright_policy::{EgressPermit, Permit};
use gatewright_schemas::{Digest, ToolCallId};

fn main() {
    let digest = Digest::of_bytes(b"");
    let _ = Permit::new(ToolCallId::new("acme.r1.1.1").unwrap(), digest.clone(), digest, None);
    let _ = Permit::default();
    let _ = EgressPermit::default();
}
