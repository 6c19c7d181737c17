//! Files that are named on the command line; `-` is standard input.

use std::{io::Read as _, path::Path};

use anyhow::Result;

use crate::exit::Failure;

/// The text of a file.
pub fn read(path: &Path) -> Result<String> {
    let mut text = String::new();
    let read = if path.as_os_str() == "-" {
        std::io::stdin().read_to_string(&mut text).map(|_| ())
    } else {
        std::fs::read_to_string(path).map(|read| text = read)
    };
    match read {
        Ok(()) => Ok(text),
        Err(error) => Err(Failure::usage(format!(
            "cannot read `{}`: {error}",
            path.display()
        ))),
    }
}
