use gatewright_policy::Permit;

fn execute(_: Permit) {}

fn twice(permit: Permit) {
    execute(permit);
    execute(permit);
}

fn main() {}
