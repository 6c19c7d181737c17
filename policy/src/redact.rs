//! What may not be shown: secrets, recognised by the names they stand under and by what the policy marks.
//!
//! - Headers, JSON fields and query parameters by their names (see [`Marks`]).
//! - URLs: user information and the fragment always go; of a call's own `target_url` every query value when it is shown.
//! - Text that is JSON, and bodies that are forms, are looked into.
//! - A secret that was found so is looked for everywhere else, too (see [`Secrets`]).
//!
//! Four uses: [`take_out`] moves the secrets of a submission into a [`Vault`] before anything is recorded of it;
//! [`input`] makes a call's input fit for events, [`Secrets::clean`] its output, and [`message`] a dead letter.
//!
//! Pure, like the rest of this crate: who keeps a vault, and where, is not told here.

mod loose;
mod marks;
mod message;
mod secrets;
mod vault;
mod walk;

use serde_json::Value;
use url::Url;

pub use marks::Marks;
pub use message::{Message, message};
pub use secrets::{REDACTED, Secrets};
pub use vault::{Parts, SecretMissing, TooManySecrets, Vault, take_out};

use walk::{Query, Walk};

/// An input as events may show it.
#[derive(Debug, Clone)]
pub struct Redacted {
    /// The input with [`REDACTED`] in the place of every secret.
    pub value: Value,
    /// What was replaced, to be removed from whatever comes back.
    pub secrets: Secrets,
}

/// Redacts the input of a call. References to secrets are let stand.
pub fn input(input: &Value, marks: &Marks) -> Redacted {
    let mut value = input.clone();
    let mut walk = Walk::shown(marks);
    walk.input(&mut value);
    let secrets = Secrets::of(&walk.found);
    // A secret may stand a second time where no name shows it, for example in a path.
    secrets.strip(&mut value);
    Redacted { value, secrets }
}

/// The secrets in the input of a call, literally.
pub fn literals(input: &Value, marks: &Marks) -> Vec<String> {
    let mut value = input.clone();
    let mut walk = Walk::shown(marks);
    walk.input(&mut value);
    walk.found
}

/// The URL as events show it: no user information, no fragment, no query values.
pub fn url(url: &Url) -> String {
    Walk::output(&Marks::default()).url(url.clone(), Query::All)
}
