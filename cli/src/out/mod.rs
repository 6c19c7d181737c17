//! What is printed: data to standard output, as a table, as JSON, or as bare ids.

mod table;

use std::io::{self, IsTerminal as _, Write as _};

use anyhow::Result;
use clap::{Args, ValueEnum};
use gatewright_schemas::Timestamp;
use serde::Serialize;

use crate::escape::{escaped, to_json};

pub use table::{Cell, Table};

/// In which form data is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// For people.
    Table,
    /// For programs: one object for one thing, `{"items": […], "next": …}` for a list, one object a line for what comes bit by bit.
    Json,
    /// One id a line, which other commands take from `-`.
    Ids,
}

/// In which form data is printed, as flags.
#[derive(Debug, Clone, Copy, Args)]
#[command(next_help_heading = "Output")]
pub struct OutFlags {
    /// The form of what is printed
    #[arg(
        short = 'o',
        long = "output",
        global = true,
        value_enum,
        value_name = "FORM",
        hide_possible_values = true
    )]
    #[arg(help = "The form of what is printed: table, json or ids [default: table]")]
    pub output: Option<Form>,
    /// The same as `-o json`
    #[arg(long, global = true, conflicts_with = "output")]
    pub json: bool,
}

/// Standard output.
#[derive(Debug, Clone, Copy)]
pub struct Out {
    /// In which form.
    pub form: Form,
    colours: bool,
    terminal: bool,
}

/// Whether the user wants colours at all.
pub fn colours_wanted() -> bool {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    !set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

impl Out {
    /// As the flags want it.
    pub fn new(flags: OutFlags) -> Self {
        let terminal = io::stdout().is_terminal();
        let form = if flags.json {
            Form::Json
        } else {
            flags.output.unwrap_or(Form::Table)
        };
        Self {
            form,
            colours: terminal && colours_wanted(),
            terminal,
        }
    }

    /// Whether a program reads it.
    pub fn is_json(self) -> bool {
        self.form == Form::Json
    }

    /// Whether standard output is a terminal.
    pub fn is_terminal(self) -> bool {
        self.terminal
    }

    /// One line of data. The caller has escaped what it did not write itself.
    pub fn line(self, text: impl AsRef<str>) -> Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_ref().as_bytes())?;
        out.write_all(b"\n")?;
        Ok(out.flush()?)
    }

    /// One thing, as JSON.
    pub fn json<T: Serialize>(self, value: &T) -> Result<()> {
        self.line(to_json(value, self.terminal)?)
    }

    /// One of many things that come bit by bit, as JSON on one line.
    pub fn json_line<T: Serialize>(self, value: &T) -> Result<()> {
        self.line(to_json(value, false)?)
    }

    /// A list: as a table, as JSON with the cursor of the next page, or as ids.
    pub fn list<T: Serialize>(
        self,
        items: &[T],
        next: Option<String>,
        id: impl Fn(&T) -> String,
        table: impl FnOnce(&[T]) -> Table,
    ) -> Result<()> {
        #[derive(Serialize)]
        struct Page<'a, T> {
            items: &'a [T],
            next: Option<String>,
        }
        match self.form {
            Form::Json => self.json(&Page { items, next }),
            Form::Ids => items
                .iter()
                .try_for_each(|item| self.line(escaped(&id(item)))),
            Form::Table if items.is_empty() => {
                eprintln!("nothing found");
                Ok(())
            }
            Form::Table => {
                self.table(&table(items))?;
                if let Some(next) = next {
                    eprintln!("more: --after {}", escaped(&next));
                }
                Ok(())
            }
        }
    }

    /// A table.
    pub fn table(self, table: &Table) -> Result<()> {
        let text = table.render(self.colours);
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        Ok(out.flush()?)
    }

    /// A heading, set off where colours are shown.
    pub fn heading(self, text: &str) -> Result<()> {
        if self.colours {
            self.line(format!("\u{1b}[1m{text}\u{1b}[0m"))
        } else {
            self.line(text)
        }
    }
}

/// A time to the millisecond, such as `2026-01-31 09:30:00.123`, in UTC.
pub fn time(at: Timestamp) -> String {
    let text = at.to_string();
    let (date, clock) = text.split_once('T').unwrap_or((&text, ""));
    let clock: String = clock.chars().take(12).collect();
    format!("{date} {clock}")
}

/// How long ago, or how long it takes, in the largest unit that fits, such as `3.2s` and `5h`.
pub fn span(duration: std::time::Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("{}ms", duration.as_millis()),
        1..=9 => format!("{:.1}s", duration.as_secs_f64()),
        10..=119 => format!("{seconds}s"),
        120..=7199 => format!("{}m", seconds / 60),
        7200..=172_799 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}
