//! The files of `schemas/`.

use std::{collections::BTreeMap, fs, path::PathBuf};

use jsonschema::Validator;
use serde_json::Value;

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Every file of a folder whose name ends so, by the rest of its name.
pub fn texts(name: &str, ending: &str) -> BTreeMap<String, String> {
    let folder = folder(name);
    let entries = fs::read_dir(&folder).unwrap_or_else(|why| panic!("{}: {why}", folder.display()));
    let mut texts = BTreeMap::new();
    for entry in entries {
        let path = entry.unwrap().path();
        let file = path.file_name().unwrap().to_str().unwrap();
        if let Some(stem) = file.strip_suffix(ending) {
            texts.insert(stem.to_owned(), fs::read_to_string(&path).unwrap());
        }
    }
    assert!(!texts.is_empty(), "{} is empty", folder.display());
    texts
}

/// The samples of a folder whose names begin with `kind` and a dot, by the rest of their names.
pub fn samples(name: &str, kind: &str) -> BTreeMap<String, String> {
    let samples: BTreeMap<String, String> = texts(&format!("samples/{name}"), ".json")
        .into_iter()
        .filter_map(|(file, text)| {
            let stem = file.strip_prefix(kind)?.strip_prefix('.')?;
            Some((stem.to_owned(), text))
        })
        .collect();
    assert!(!samples.is_empty(), "no samples of {kind}");
    samples
}

/// The invalid samples of `kind`, each with the places at which it is wrong.
pub fn invalid(kind: &str) -> Vec<(String, String, Vec<String>)> {
    let mut all = samples("invalid", kind);
    let places: BTreeMap<String, Vec<String>> = all
        .iter()
        .filter_map(|(name, text)| {
            let sample = name.strip_suffix(".violations")?;
            Some((sample.to_owned(), serde_json::from_str(text).unwrap()))
        })
        .collect();
    all.retain(|name, _| !name.ends_with(".violations"));
    assert!(
        all.keys().eq(places.keys()),
        "each invalid sample needs its violations: {:?} {:?}",
        all.keys(),
        places.keys()
    );
    all.into_iter()
        .zip(places.into_values())
        .map(|((name, text), mut places)| {
            places.sort();
            (name, text, places)
        })
        .collect()
}

/// A checked-in JSON Schema, compiled.
pub fn schema(name: &str) -> Validator {
    let path = folder("json").join(format!("{name}{}", crate::catalog::SUFFIX));
    let text = fs::read_to_string(&path).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
    let schema: Value = serde_json::from_str(&text).unwrap();
    gatewright_schemas::validate::compile(&schema).unwrap_or_else(|why| panic!("{name}: {why}"))
}

/// Fails, with what is wrong, where `value` misses the checked-in schema.
#[track_caller]
pub fn assert_fits(name: &str, value: &Value) {
    let found = gatewright_schemas::validate::violations(&schema(name), value);
    assert!(found.is_empty(), "{name}: {found:?}");
}
