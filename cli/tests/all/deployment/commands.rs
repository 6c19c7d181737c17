//! Commands of this program, found in shell text and in Markdown.

use std::iter::Peekable;

use clap::{Parser as _, error::ErrorKind};
use gatewright_cli::args::Cli;

/// What is wrong with a command, when anything is. `words` are what follows the program's name.
///
/// An `outline` may leave arguments out: in a sentence, `gatewright policy apply` is a name.
pub fn fault(words: &[String], outline: bool) -> Option<String> {
    let line = std::iter::once("gatewright").chain(words.iter().map(String::as_str));
    let error = Cli::try_parse_from(line).err()?;
    let is_fine = match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => true,
        ErrorKind::MissingRequiredArgument
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
        | ErrorKind::MissingSubcommand => outline,
        _ => false,
    };
    (!is_fine).then(|| format!("gatewright {}: {error}", words.join(" ")))
}

/// Everything that is wrong with the commands of a shell text; how many there are.
pub fn faults_of_shell(text: &str) -> (usize, Vec<String>) {
    let commands = in_shell(text);
    let faults = commands.iter().filter_map(|words| fault(words, false));
    (commands.len(), faults.collect())
}

/// Everything that is wrong with the commands of a Markdown text: those of its `sh` blocks, and those in its sentences.
pub fn faults_of_markdown(text: &str) -> (usize, Vec<String>) {
    let (mut count, mut faults) = (0, Vec::new());
    for (n, part) in text.split("```").enumerate() {
        if n % 2 == 1 {
            let Some(shell) = part.strip_prefix("sh\n") else {
                continue;
            };
            let (more, wrong) = faults_of_shell(shell);
            count += more;
            faults.extend(wrong);
        } else {
            for span in part.split('`').skip(1).step_by(2) {
                let Some(rest) = span.strip_prefix("gatewright ") else {
                    continue;
                };
                for words in alternatives(rest) {
                    count += 1;
                    faults.extend(fault(&words, true));
                }
            }
        }
    }
    (count, faults)
}

/// `tool list|show` as `tool list` and `tool show`.
fn alternatives(text: &str) -> Vec<Vec<String>> {
    let mut lines = vec![Vec::new()];
    for word in without_placeholders(text).split_whitespace() {
        let choices: Vec<&str> = word.split('|').collect();
        lines = lines
            .into_iter()
            .flat_map(|line| {
                choices.iter().map(move |choice| {
                    let mut line = line.clone();
                    line.push((*choice).to_owned());
                    line
                })
            })
            .collect();
    }
    lines
}

/// What follows the program's name in each of its commands.
pub fn in_shell(text: &str) -> Vec<Vec<String>> {
    let text = without_placeholders(&text.replace("\\\n", " "));
    let mut commands = Vec::new();
    for line in text.lines() {
        for command in simple_commands(line) {
            commands.extend(of_this_program(&command));
        }
    }
    commands
}

/// `<run id>` as `x`.
fn without_placeholders(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('<') {
        let (before, behind) = rest.split_at(at);
        out.push_str(before);
        let name = behind.get(1..).unwrap_or_default();
        let end = name.find(|c: char| !c.is_ascii_alphanumeric() && !" -_".contains(c));
        match end {
            Some(end)
                if name[end..].starts_with('>')
                    && name.starts_with(|c: char| c.is_ascii_alphabetic()) =>
            {
                out.push('x');
                rest = &name[end + 1..];
            }
            _ => {
                out.push('<');
                rest = name;
            }
        }
    }
    out + rest
}

/// The words of each command of a line; what it reads from and writes to is left out.
fn simple_commands(line: &str) -> Vec<Vec<String>> {
    let mut commands = vec![Vec::new()];
    let mut chars = line.chars().peekable();
    let mut skips = false;
    while let Some(&c) = chars.peek() {
        match c {
            c if c.is_whitespace() => {
                chars.next();
            }
            '#' => break,
            '|' | '&' | ';' | '(' | ')' | '{' | '}' => {
                chars.next();
                commands.push(Vec::new());
            }
            '<' | '>' => {
                while chars.next_if(|c| "<>&".contains(*c)).is_some() {}
                skips = true;
            }
            _ => {
                let word = word(&mut chars);
                // `2>`, as in `2>/dev/null`.
                let names_a_stream =
                    word.parse::<u8>().is_ok() && matches!(chars.peek(), Some('<' | '>'));
                if !std::mem::take(&mut skips)
                    && !names_a_stream
                    && let Some(command) = commands.last_mut()
                {
                    command.push(word);
                }
            }
        }
    }
    commands
}

/// One word, without its quotes.
fn word(chars: &mut Peekable<std::str::Chars<'_>>) -> String {
    let mut word = String::new();
    let mut quote = None;
    while let Some(&c) = chars.peek() {
        match quote {
            Some(open) if c == open => quote = None,
            None if c == '\'' || c == '"' => quote = Some(c),
            None if c.is_whitespace() || "|&;()<>".contains(c) => break,
            _ => word.push(c),
        }
        chars.next();
    }
    word
}

/// What follows the program's name, where a command starts this program, also by way of another.
fn of_this_program(command: &[String]) -> Option<Vec<String>> {
    let first = command.first()?;
    // Everywhere before that the name may be one of a namespace, an image or a folder.
    let behind_dashes = match first.as_str() {
        "kubectl" | "cargo" => 1 + command.iter().position(|word| word == "--")?,
        _ => 0,
    };
    let candidates = command.get(behind_dashes..)?;
    if first == "cargo" {
        return command
            .iter()
            .any(|word| word == "gatewright")
            .then(|| candidates.to_vec());
    }
    let at = candidates.iter().position(|word| {
        word == "gatewright" || word.ends_with("/gatewright") && !word.contains([':', '='])
    })?;
    // A directory or a file is no program.
    let is_argument = at > 0
        && !candidates[..at].iter().all(|word| {
            word.contains('=')
                || ["exec", "if", "!", "time", "sudo", "then", "do"].contains(&word.as_str())
        })
        && !(first == "docker" && candidates.get(1).is_some_and(|word| word == "compose"));
    (!is_argument).then(|| candidates[at + 1..].to_vec())
}

#[test]
fn commands_are_found_where_they_are_and_nowhere_else() {
    let found = |text: &str| {
        in_shell(text)
            .into_iter()
            .map(|words| words.join(" "))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        found("echo '{}' | gatewright run submit - --wait  # a comment\n"),
        ["run submit - --wait"]
    );
    assert_eq!(
        found("NATS_NKEY=a.nk gatewright run show <run id> 2>/dev/null > out"),
        ["run show x"]
    );
    assert_eq!(
        found("gatewright migrate && gatewright \\\n  provision --replicas 3"),
        ["migrate", "provision --replicas 3"]
    );
    assert_eq!(
        found("docker compose run --rm gatewright doctor < file"),
        ["doctor"]
    );
    assert_eq!(
        found("kubectl -n gatewright exec deploy/x -- gatewright doctor"),
        ["doctor"]
    );
    assert_eq!(found("cargo run --bin gatewright -- dev"), ["dev"]);
    assert_eq!(
        found(
            "kubectl -n gatewright get pods\ncargo build --bin gatewright\ncp -r /etc/gatewright x"
        ),
        [""; 0]
    );
}

#[test]
fn a_command_that_does_not_exist_is_told() {
    let (count, faults) = faults_of_shell("gatewright run submitt -\ngatewright run list --all\n");
    assert_eq!((count, faults.len()), (2, 2), "{faults:?}");
    let (count, faults) =
        faults_of_markdown("as `gatewright tool list|shew` says, `gatewright policy apply`");
    assert_eq!((count, faults.len()), (3, 1), "{faults:?}");
}
