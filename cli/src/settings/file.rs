//! The file of `--config`: TOML, one key a setting.

use std::{collections::BTreeMap, ops::Range};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// Where in a file something stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// The file, as it was named.
    pub(super) path: String,
    /// From 1.
    pub(super) line: usize,
    /// In characters, from 1.
    pub(super) column: usize,
}

/// The settings of a file, as text.
#[derive(Debug, Default)]
pub(super) struct File {
    path: String,
    entries: BTreeMap<String, (String, usize, usize)>,
}

impl File {
    /// As it was named; nothing where none was.
    pub(super) fn path(&self) -> Option<&str> {
        Some(self.path.as_str()).filter(|path| !path.is_empty())
    }

    pub(super) fn get(&self, key: &str) -> Option<(String, Place)> {
        let (text, line, column) = self.entries.get(key)?;
        let place = Place {
            path: self.path.clone(),
            line: *line,
            column: *column,
        };
        Some((text.clone(), place))
    }
}

/// Reads the file, and tells everything that is wrong with its form. `named_by` is who named it.
pub(super) fn read(path: &str, named_by: &str, known: &[&str]) -> (File, Vec<String>) {
    match std::fs::read_to_string(path) {
        Ok(text) => parse(path, &text, known),
        Err(error) => {
            let fault = format!("{named_by}: cannot read `{path}`: {error}");
            (File::default(), vec![fault])
        }
    }
}

fn parse(path: &str, text: &str, known: &[&str]) -> (File, Vec<String>) {
    let mut file = File {
        path: path.to_owned(),
        entries: BTreeMap::new(),
    };
    let mut faults = Vec::new();
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let (line, column) = position(text, &error.span().unwrap_or(0..0));
        faults.push(format!(
            "{path}:{line}:{column}: not TOML: {}",
            error.message()
        ));
    }
    for (key, value) in table.get_ref() {
        let (line, column) = position(text, &key.span());
        let name = key.get_ref().as_ref();
        if !known.contains(&name) {
            let known = known.join(", ");
            faults.push(format!(
                "{path}:{line}:{column}: `{name}` is no setting; known are {known}"
            ));
            continue;
        }
        match as_text(value) {
            Some(text) => {
                file.entries.insert(name.to_owned(), (text, line, column));
            }
            None => faults.push(format!(
                "{path}:{line}:{column}: `{name}` must be a string, a number, true, false or a list of strings"
            )),
        }
    }
    (file, faults)
}

/// The value as the command line would have it.
fn as_text(value: &Spanned<DeValue<'_>>) -> Option<String> {
    match value.get_ref() {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => Some(number.to_string()),
        DeValue::Boolean(boolean) => Some(boolean.to_string()),
        DeValue::Array(items) => {
            let items: Option<Vec<String>> = items
                .iter()
                .map(|item| match item.get_ref() {
                    DeValue::String(text) => Some(text.to_string()),
                    _ => None,
                })
                .collect();
            items.map(|items| items.join(","))
        }
        DeValue::Float(_) | DeValue::Datetime(_) | DeValue::Table(_) => None,
    }
}

fn position(text: &str, span: &Range<usize>) -> (usize, usize) {
    let before = text.get(..span.start.min(text.len())).unwrap_or(text);
    let column = before
        .rsplit('\n')
        .next()
        .unwrap_or_default()
        .chars()
        .count()
        + 1;
    (before.matches('\n').count() + 1, column)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_faults_of_a_file_are_told_with_their_lines() {
        let text = "prefix = \"blue\"\nzones = [\"sandbox\", 3]\nsurprise = 1\nlog = {}\nconcurrency = 8\n";
        let (file, faults) = parse("g.toml", text, &["prefix", "zones", "log", "concurrency"]);
        let places: Vec<&str> = faults.iter().map(|fault| &fault[..9]).collect();
        assert_eq!(
            places,
            ["g.toml:4:", "g.toml:3:", "g.toml:2:"],
            "{faults:?}"
        );
        assert_eq!(file.get("prefix").unwrap().0, "blue");
        assert_eq!(file.get("concurrency").unwrap().1.line, 5);
        let (_, faults) = parse("g.toml", "a = \nb = 1 2\n", &["a", "b"]);
        assert!(
            faults.iter().all(|fault| fault.contains("not TOML")),
            "{faults:?}"
        );
    }
}
