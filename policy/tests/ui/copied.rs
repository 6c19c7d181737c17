use gatewright_policy::{EgressPermit, Permit};

fn twice(permit: Permit, egress: EgressPermit) {
    let _ = permit.clone();
    let _ = egress.clone();
}

fn main() {}
