//! Writes `schemas/json/` from the Rust types; `make schemas` calls this.

mod catalog;

use std::{fs, io, path::Path};

fn main() -> io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("json");
    let files = catalog::files();
    for entry in fs::read_dir(&folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.ends_with(catalog::SUFFIX) && !files.contains_key(name.as_ref()) {
            fs::remove_file(&path)?;
        }
    }
    for (name, text) in &files {
        fs::write(folder.join(name), text)?;
    }
    Ok(())
}
