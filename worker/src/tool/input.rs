//! The input of a call, as it is recorded and as the tool gets it.

use gatewright_policy::redact::{self, Marks, SecretMissing, Secrets, Vault};
use gatewright_schemas::{Digest, ErrorInfo};
use serde_json::Value;

/// The input of a call.
///
/// Recorded, hashed, approved and permitted is the input with references in the place of its secrets;
/// validated, shown to the gate and executed is the real one. A vault is written once, so a reference is as good as its value.
pub struct Input {
    digest: Digest,
    real: Value,
    /// The secrets of the run, literally.
    literals: Vec<String>,
}

impl From<Value> for Input {
    /// An input without references.
    fn from(input: Value) -> Self {
        Self {
            digest: Digest::of(&input),
            real: input,
            literals: Vec::new(),
        }
    }
}

impl Input {
    /// The input `recorded` of a call of the run that `vault` belongs to.
    pub fn restored(recorded: &Value, vault: &Vault) -> Result<Self, SecretMissing> {
        let mut real = recorded.clone();
        vault.restore(&mut real)?;
        Ok(Self {
            digest: Digest::of(recorded),
            real,
            literals: vault.literals().cloned().collect(),
        })
    }

    /// The input as the tool gets it, nothing redacted.
    pub fn real(&self) -> &Value {
        &self.real
    }

    /// Digest of the input as it is recorded.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// What is to be removed from whatever is told of the call: the secrets of this input and of the run.
    pub fn secrets(&self, marks: &Marks) -> Secrets {
        let own = redact::literals(&self.real, marks);
        Secrets::of(self.literals.iter().chain(&own))
    }

    /// The input `recorded`, as events show it, and what is to be removed from whatever else is told of the call.
    pub fn shown(&self, recorded: &Value, marks: &Marks) -> redact::Redacted {
        let mut shown = redact::input(recorded, marks);
        if !self.literals.is_empty() {
            shown.secrets = self.secrets(marks);
            shown.secrets.strip(&mut shown.value);
        }
        shown
    }

    /// An error of a call with this input, without the run's secrets.
    pub(crate) fn cleaned(&self, mut error: ErrorInfo) -> ErrorInfo {
        let secrets = Secrets::of(&self.literals);
        error.reason = secrets.clean_text(&error.reason);
        for violation in &mut error.violations {
            violation.pointer = secrets.clean_text(&violation.pointer);
            violation.message = secrets.clean_text(&violation.message);
        }
        error
    }
}
