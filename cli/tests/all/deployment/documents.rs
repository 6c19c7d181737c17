//! What the documents tell people to type.

use std::path::Path;

use super::{commands, root};

#[test]
fn every_command_in_the_documents_exists() {
    let (mut count, mut faults) = (0, Vec::new());
    let mut look = |path: &Path| {
        let text = std::fs::read_to_string(path).unwrap();
        let (more, wrong) = commands::faults_of_markdown(&text);
        count += more;
        faults.extend(
            wrong
                .into_iter()
                .map(|fault| format!("{}: {fault}", path.display())),
        );
    };
    for folder in ["", "docs", "docs/howto", "docs/adr", "deploy/kubernetes"] {
        for entry in root().join(folder).read_dir().unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|end| end == "md") {
                look(&path);
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(count > 50, "only {count} commands were found");
}
