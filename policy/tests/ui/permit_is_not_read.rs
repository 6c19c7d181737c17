use gatewright_policy::{Answer, EgressPermit, Permit};

fn read<T: for<'de> serde::Deserialize<'de>>() {}

fn main() {
    read::<Permit>();
    read::<EgressPermit>();
    read::<Answer>();
}
