use gatewright_policy::{EgressPermit, Permit};

fn twice(permit: Permit, egress: EgressPermit) {
    let _ = permit.clone();
    let _ = egress.clone();
    drop(permit);
    let _ = permit.input_digest();
    drop(egress);
}

fn main() {
    let _ = twice;
}
