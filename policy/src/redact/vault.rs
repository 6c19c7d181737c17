//! Taking the secrets of a run out of its submission, and putting them back for the tool that needs them.

use std::collections::{BTreeMap, BTreeSet};

use gatewright_schemas::reference;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    marks::Marks,
    secrets::{REDACTED, Secrets},
    walk::Walk,
};

/// In more spellings secrets are not looked for: the search would take too long. About six hundred different secrets.
pub(super) const MAX_SPELLINGS: usize = 2_000;

/// The secrets of one run, by the numbers that its references name.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Vault {
    /// What stood in the place of each reference.
    values: BTreeMap<u32, Value>,
    /// The secrets in these values, literally, to be removed from whatever is told of the run's calls.
    literals: BTreeSet<String>,
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Vault({})", self.values.len())
    }
}

/// A reference that leads nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("secret number {0} is not in the run's vault")]
pub struct SecretMissing(pub u32);

/// A submission with more secrets than can be looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the inputs hold too many different secrets: at most about 600")]
pub struct TooManySecrets;

/// What the secrets of one submission are taken out of.
#[derive(Debug, Default)]
pub struct Parts<'v> {
    /// The inputs of its calls: a secret is replaced by a reference, its value goes into the vault.
    pub inputs: Vec<&'v mut Value>,
    /// Values that no call reads: a secret in them is lost.
    pub beside: Vec<&'v mut Value>,
    /// Texts for people: secrets that were found elsewhere are removed from them.
    pub texts: Vec<&'v mut String>,
}

/// Takes the secrets out. The vault is empty when there are none, and everything is then as it was.
///
/// The inputs may not hold references already.
pub fn take_out(parts: Parts<'_>, marks: &Marks) -> Result<Vault, TooManySecrets> {
    let Parts {
        mut inputs,
        mut beside,
        mut texts,
    } = parts;
    let mut vault = Vault::default();
    let mut walk = Walk::into_vault(marks, &mut vault);
    for input in &mut inputs {
        walk.input(input);
    }
    let mut found = walk.found;
    let mut walk = Walk::message(marks);
    for value in &mut beside {
        walk.value(None, value);
    }
    found.append(&mut walk.found);
    if found.is_empty() {
        return Ok(vault);
    }

    vault.literals = found.into_iter().collect();
    let secrets = vault.secrets();
    if secrets.spellings() > MAX_SPELLINGS {
        return Err(TooManySecrets);
    }
    // A secret may stand a second time where no name shows it.
    for input in &mut inputs {
        vault.take_again(input, &secrets);
    }
    for value in &mut beside {
        secrets.strip(value);
    }
    for text in &mut texts {
        if let Some(clean) = secrets.cleaned(text) {
            **text = clean;
        }
    }
    Ok(vault)
}

impl Vault {
    /// Whether the run has no secrets.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// How many references there are.
    pub fn len(&self) -> u32 {
        u32::try_from(self.values.len()).unwrap_or(u32::MAX)
    }

    /// What is to be removed from whatever is told of the run's calls.
    pub fn secrets(&self) -> Secrets {
        Secrets::of(&self.literals)
    }

    /// The secrets literally.
    pub fn literals(&self) -> impl Iterator<Item = &String> {
        self.literals.iter()
    }

    /// Puts the secrets back in the place of their references.
    pub fn restore(&self, value: &mut Value) -> Result<(), SecretMissing> {
        if let Some(number) = reference::number(value) {
            *value = self
                .values
                .get(&number)
                .ok_or(SecretMissing(number))?
                .clone();
            return Ok(());
        }
        match value {
            Value::Array(items) => items.iter_mut().try_for_each(|item| self.restore(item)),
            Value::Object(fields) => fields
                .values_mut()
                .try_for_each(|field| self.restore(field)),
            _ => Ok(()),
        }
    }

    /// Keeps what stands at `place` and leaves a reference there.
    pub(super) fn keep(&mut self, place: &mut Value, shows: Value) {
        let number = self.len().saturating_add(1);
        let shows = Some(shows).filter(|shows| shows != REDACTED);
        let value = std::mem::replace(place, reference::to(number, shows));
        self.values.insert(number, value);
    }

    fn take_again(&mut self, value: &mut Value, secrets: &Secrets) {
        let is_reference = reference::number(value).is_some();
        match value {
            Value::String(text) => {
                if let Some(clean) = secrets.cleaned(text) {
                    self.keep(value, clean.into());
                }
            }
            Value::Array(items) => {
                for item in items {
                    self.take_again(item, secrets);
                }
            }
            Value::Object(_) if is_reference => secrets.strip(value),
            Value::Object(fields) if fields.keys().any(|k| secrets.cleaned(k).is_some()) => {
                // The references in it are this vault's own, and values hold none.
                if self.restore(value).is_ok() {
                    self.keep(value, Value::from(REDACTED));
                }
            }
            Value::Object(fields) => {
                for field in fields.values_mut() {
                    self.take_again(field, secrets);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}
