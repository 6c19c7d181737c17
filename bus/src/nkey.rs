//! The key pairs by which credentials prove who they are: the seed stays with its user, the server knows the public key.

use nkeys::{KeyPair, KeyPairType};

/// A user's key pair.
pub struct UserKey(KeyPair);

/// What stands where a seed should.
#[derive(Debug, thiserror::Error)]
#[error("it holds no seed of a NATS user, which begins with `SU`")]
pub struct NotASeed;

impl UserKey {
    /// A new one.
    pub fn generate() -> Self {
        Self(KeyPair::new_user())
    }

    /// The one of this seed; what surrounds it may be blank.
    pub fn of_seed(seed: &str) -> Result<Self, NotASeed> {
        let pair = KeyPair::from_seed(seed.trim()).map_err(|_| NotASeed)?;
        match pair.key_pair_type() {
            KeyPairType::User => Ok(Self(pair)),
            _ => Err(NotASeed),
        }
    }

    /// The seed: whoever has it is this user.
    pub fn seed(&self) -> Result<String, NotASeed> {
        self.0.seed().map_err(|_| NotASeed)
    }

    /// What the server is told, beginning with `U`.
    pub fn public(&self) -> String {
        self.0.public_key()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_key_again_and_only_users_seeds_do() {
        let key = UserKey::generate();
        let seed = format!("{}\n", key.seed().unwrap());
        assert_eq!(UserKey::of_seed(&seed).unwrap().public(), key.public());
        assert!(key.public().starts_with('U'));
        let account = KeyPair::new_account().seed().unwrap();
        assert!(UserKey::of_seed(&account).is_err());
        assert!(UserKey::of_seed("").is_err());
    }
}
