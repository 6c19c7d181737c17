//! Aligned columns.

use std::fmt::Write as _;

use unicode_width::UnicodeWidthStr as _;

use crate::escape::escaped;

/// A row's cell: a text, escaped, and how it is set off.
#[derive(Debug, Clone)]
pub struct Cell {
    text: String,
    colour: Option<&'static str>,
}

const GREEN: &str = "32";
const RED: &str = "31";
const YELLOW: &str = "33";
const GREY: &str = "90";

impl Cell {
    /// A text, whoever wrote it.
    pub fn text(text: impl AsRef<str>) -> Self {
        Self {
            text: escaped(text.as_ref()),
            colour: None,
        }
    }

    /// A text that is cut to `most` characters.
    pub fn cut(text: impl AsRef<str>, most: usize) -> Self {
        let whole = escaped(text.as_ref());
        let text = if whole.chars().count() > most {
            let kept: String = whole.chars().take(most.saturating_sub(1)).collect();
            format!("{kept}…")
        } else {
            whole
        };
        Self { text, colour: None }
    }

    /// A text that may be absent.
    pub fn maybe(text: Option<impl AsRef<str>>) -> Self {
        text.map_or_else(|| Self::text("-"), Self::text)
    }

    /// One of the fleet's words for how something stands, in its colour.
    pub fn word(word: impl AsRef<str>) -> Self {
        let word = word.as_ref();
        let colour = match word {
            "succeeded" | "allow" | "allowed" | "ok" | "alive" | "granted" | "passed" | "holds" => {
                Some(GREEN)
            }
            "failed" | "deny" | "denied" | "blocked" | "fault" | "rejected" | "quarantined"
            | "revoked" | "silent" | "broken" => Some(RED),
            "running" | "waiting_approval" | "waiting_actor" | "waiting" | "require_approval"
            | "requires_approval" | "warning" | "draining" | "expired" => Some(YELLOW),
            "cancelled" | "skipped" | "not_applicable" => Some(GREY),
            _ => None,
        };
        Self {
            text: escaped(word),
            colour,
        }
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::text(text)
    }
}

impl From<&String> for Cell {
    fn from(text: &String) -> Self {
        Self::text(text)
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::text(text)
    }
}

/// Rows under a heading.
#[derive(Debug, Clone)]
pub struct Table {
    head: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
    indent: usize,
}

impl Table {
    /// With these headings; empty for none.
    pub fn new(head: &[&'static str]) -> Self {
        Self {
            head: head.to_vec(),
            rows: Vec::new(),
            indent: 0,
        }
    }

    /// Every line set in by so many blanks.
    #[must_use]
    pub fn indented(mut self, by: usize) -> Self {
        self.indent = by;
        self
    }

    /// Adds a row.
    pub fn row(&mut self, cells: Vec<Cell>) {
        self.rows.push(cells);
    }

    /// Whether it has no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// As text, a line a row; every column as wide as its widest cell, the last one not filled up.
    pub fn render(&self, colours: bool) -> String {
        let columns = self
            .rows
            .iter()
            .map(Vec::len)
            .chain([self.head.len()])
            .max()
            .unwrap_or(0);
        let width_of = |column: usize| {
            let head = self.head.get(column).map_or(0, |text| text.width());
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.text.width()).chain([head]).max()
        };
        let widths: Vec<usize> = (0..columns)
            .map(|column| width_of(column).unwrap_or(0))
            .collect();
        let mut text = String::new();
        if !self.head.is_empty() {
            let head = self.head.iter().map(|text| (*text, Some("1")));
            self.push_line(&mut text, head, &widths, colours);
        }
        for row in &self.rows {
            let cells = row.iter().map(|cell| (cell.text.as_str(), cell.colour));
            self.push_line(&mut text, cells, &widths, colours);
        }
        text
    }

    fn push_line<'a>(
        &self,
        text: &mut String,
        cells: impl Iterator<Item = (&'a str, Option<&'static str>)>,
        widths: &[usize],
        colours: bool,
    ) {
        let mut line = " ".repeat(self.indent);
        for ((cell, colour), width) in cells.zip(widths) {
            // Writing to a string cannot fail.
            let _ = match colour.filter(|_| colours) {
                Some(colour) => write!(line, "\u{1b}[{colour}m{cell}\u{1b}[0m"),
                None => write!(line, "{cell}"),
            };
            line.push_str(&" ".repeat(width.saturating_sub(cell.width()) + 2));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_whatever_they_hold() {
        let mut table = Table::new(&["ID", "TITLE", "STATUS"]);
        table.row(vec!["1".into(), "日本".into(), Cell::word("failed")]);
        table.row(vec!["22".into(), Cell::cut("a\u{1b}bcdef", 4), "x".into()]);
        assert_eq!(
            table.render(false),
            "ID  TITLE  STATUS\n1   日本   failed\n22  a\\u…   x\n"
        );
        assert!(table.render(true).contains("\u{1b}[31mfailed\u{1b}[0m\n"));
    }
}
