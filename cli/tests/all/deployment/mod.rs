//! What is deployed beside the binary fits it: containers, manifests, and what documents tell people to type.
//!
//! Everything here reads files. That they work on an engine and a cluster is not tried here.

mod commands;
mod compose;
mod documents;
mod image;
mod kubernetes;

use std::path::{Path, PathBuf};

use gatewright_cli::settings;

/// The project's directory.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Whether the binary looks for a variable of this name.
fn is_known(variable: &str) -> bool {
    settings::VARIABLES.contains(&variable)
}
