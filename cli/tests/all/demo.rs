//! The demo tells nothing that is not so.

use crate::support::{gatewright, run};

#[test]
fn everything_that_the_demo_tells_is_so() {
    let folder = tempfile::Builder::new()
        .prefix("gatewright-cli-")
        .tempdir()
        .unwrap();
    let mut command = gatewright();
    command.arg("demo").current_dir(folder.path());
    let done = run(command, "").ends(0);
    assert!(!done.out.contains("NOT SO"), "{}", done.out);
    assert!(done.out.contains("claims hold"), "{}", done.out);
    assert!(!done.out.contains('\u{1b}'));
}
