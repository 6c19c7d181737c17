//! How a command ends: its exit code, and how an error is told.

use std::{fmt, process::ExitCode};

use gatewright_bus::{
    ConnectError, FeedError, LoadError, dead_letters::DeadLetterError, layout::LayoutError,
    request::RequestError,
};
use gatewright_store::{StoreError, migrate::SchemaError};

use crate::escape::escaped_lines;

/// The exit codes, as `gatewright --help` lists them.
pub const HELP: &str = "\
Exit codes:
  0  done, or the answer is yes
  1  the answer is no: a fault was found, a run failed, a call would be denied, something broke
  2  the command line or a setting is not usable
  3  not found
  4  a server cannot be reached
  5  refused: the fleet does not accept it
  6  no answer within the time given
  130  ended by a second Ctrl-C

Settings come from the command line, else the environment, else the file of --config.
When none of them names a server, those of a `gatewright dev` that runs in this directory are used.
Data goes to standard output, talk to standard error. NO_COLOR is honoured.";

/// What a command's end means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done, or the answer is yes.
    Ok = 0,
    /// The answer is no, or something broke.
    No = 1,
    /// The command line or a setting is not usable.
    Usage = 2,
    /// There is no such thing.
    NotFound = 3,
    /// A server cannot be reached.
    Unreachable = 4,
    /// The fleet does not accept it.
    Refused = 5,
    /// No answer in time.
    NoAnswer = 6,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        // The values are below 256 by their list.
        Self::from(exit as u8)
    }
}

/// An error that knows its exit code.
#[derive(Debug)]
pub struct Failure {
    exit: Exit,
    message: String,
}

impl Failure {
    /// An error of this kind. `message` says what happened, to what, and what to do.
    pub fn of(exit: Exit, message: impl Into<String>) -> anyhow::Error {
        anyhow::Error::new(Self {
            exit,
            message: message.into(),
        })
    }

    /// [`Exit::Usage`]
    pub fn usage(message: impl Into<String>) -> anyhow::Error {
        Self::of(Exit::Usage, message)
    }

    /// [`Exit::NotFound`]
    pub fn not_found(message: impl Into<String>) -> anyhow::Error {
        Self::of(Exit::NotFound, message)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// Tells the error, and what it means for the exit code.
pub fn report(error: &anyhow::Error) -> Exit {
    if is_broken_pipe(error) {
        // Whoever read our output has enough of it.
        return Exit::Ok;
    }
    eprintln!("gatewright: {}", escaped_lines(&told(error)));
    exit_of(error)
}

/// The error and its causes in one sentence, each text once.
pub fn told(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
    })
}

/// The exit code that an error stands for.
pub fn exit_of(error: &anyhow::Error) -> Exit {
    error.chain().find_map(known).unwrap_or(Exit::No)
}

fn known(cause: &(dyn std::error::Error + 'static)) -> Option<Exit> {
    let unreachable = |is: bool| if is { Exit::Unreachable } else { Exit::No };
    if let Some(failure) = cause.downcast_ref::<Failure>() {
        return Some(failure.exit);
    }
    if let Some(error) = cause.downcast_ref::<ConnectError>() {
        return Some(match error {
            ConnectError::Unreachable { .. } | ConnectError::Tls { .. } => Exit::Unreachable,
            ConnectError::Credentials { .. } => Exit::Usage,
            ConnectError::ServerTooOld { .. } | ConnectError::NoJetStream { .. } => Exit::No,
        });
    }
    if let Some(error) = cause.downcast_ref::<LayoutError>() {
        return Some(unreachable(error.is_transient()));
    }
    if let Some(error) = cause.downcast_ref::<RequestError>() {
        return Some(of_request(error));
    }
    if let Some(error) = cause.downcast_ref::<DeadLetterError>() {
        return Some(crate::dlq::exit_of(error));
    }
    if let Some(error) = cause.downcast_ref::<LoadError>() {
        return Some(unreachable(error.is_transient()));
    }
    if let Some(error) = cause.downcast_ref::<FeedError>() {
        return Some(unreachable(error.is_transient()));
    }
    if let Some(error) = cause.downcast_ref::<StoreError>() {
        return Some(unreachable(error.is_transient()));
    }
    if let Some(error) = cause.downcast_ref::<SchemaError>() {
        return Some(unreachable(error.is_transient()));
    }
    if let Some(error) = cause.downcast_ref::<gatewright_store::ConnectError>() {
        return Some(match error {
            gatewright_store::ConnectError::Url(_) => Exit::Usage,
            gatewright_store::ConnectError::Unreachable { .. } => Exit::Unreachable,
            gatewright_store::ConnectError::ServerTooOld { .. }
            | gatewright_store::ConnectError::Encoding { .. } => Exit::No,
        });
    }
    None
}

/// What an error of a request means for the exit code.
pub fn of_request(error: &RequestError) -> Exit {
    match error {
        RequestError::NotSent { .. } => Exit::Unreachable,
        RequestError::NoAnswer { .. } => Exit::NoAnswer,
    }
}
