//! Refresh tokens of device logins: each is good once, and using an old one betrays that it was copied.
//!
//! Invariant: a token is the keyed hash of its family, its number in it, and whose it is; so each one that ever was can
//! be told from a guess, and none has to be kept. A family is revoked only by whoever held one of its tokens. A token is
//! answered twice only to somebody who names the same [`Attempt`]: no grace for a thief, and no end for a lost answer.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use subtle::ConstantTimeEq as _;

use crate::opaque::{self, ID_LETTERS, NUMBER_LETTERS};
use crate::pepper::mac;
use crate::{AuthError, DeviceName, Fingerprint, KeyError, KeyId, Pepper, Secret, UserId};

/// What every refresh token begins with.
pub const REFRESH_PREFIX: &str = "c2lr_";

/// Letters of the hash: 22 hold 128 bits.
const HASH_LETTERS: usize = 22;
/// Shortest secret that stands for an attempt.
const MIN_ATTEMPT_BYTES: usize = 22;
const BODY_LETTERS: usize = ID_LETTERS + NUMBER_LETTERS + HASH_LETTERS;

/// One device's login: all refresh tokens that came from one another. Plain data for the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Family {
    /// Names it.
    pub id: KeyId,
    /// The issuer of the user who signed in.
    pub issuer: Arc<str>,
    /// That user's name.
    pub subject: Arc<str>,
    /// The device that was signed in.
    pub device: DeviceName,
    /// The number of the one token that is good now; the first is 1.
    pub generation: u32,
    /// The attempt that made it so, where whoever used the token before named one.
    pub attempt: Option<Attempt>,
    /// When the device was signed in.
    pub created_at: SystemTime,
    /// When its token was last used.
    pub used_at: SystemTime,
    /// When it ends unless it is used before.
    pub expires_at: SystemTime,
    /// When it was revoked.
    pub revoked_at: Option<SystemTime>,
}

/// Stands for one asking, as a hash of a secret that the device wrote down before. A device whose answer was lost asks
/// again with the same one; whoever copied its token alone does not know it.
#[derive(Clone, Copy)]
pub struct Attempt([u8; 32]);

impl Attempt {
    /// That of this text, if it is long enough that nobody guesses it.
    pub fn of(text: &str) -> Option<Self> {
        (text.len() >= MIN_ATTEMPT_BYTES).then(|| Self(Fingerprint::of(text).to_bytes()))
    }

    /// As it was kept.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// To be kept.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl PartialEq for Attempt {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Attempt {}

impl fmt::Debug for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Attempt(…)")
    }
}

/// A refresh token as it was presented, taken apart.
pub struct PresentedRefresh<'a> {
    id: KeyId,
    generation: u32,
    hash: &'a str,
}

impl<'a> PresentedRefresh<'a> {
    /// Takes a text apart, where it has the shape and the checksum of a refresh token. Looks nothing up.
    pub fn parse(text: &'a str) -> Option<Self> {
        let body = opaque::parse(REFRESH_PREFIX, BODY_LETTERS, text)?;
        let (id, rest) = body.split_at(ID_LETTERS);
        let (generation, hash) = rest.split_at(NUMBER_LETTERS);
        Some(Self {
            id: KeyId::parse(id).ok()?,
            generation: opaque::parse_number(generation)?,
            hash,
        })
    }

    /// Which family it says it is of.
    pub fn family(&self) -> &KeyId {
        &self.id
    }
}

impl fmt::Debug for PresentedRefresh<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PresentedRefresh({})", self.id)
    }
}

/// What a true refresh token is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refresh {
    /// The one that is good now. The next one is [`Pepper::refresh_token`] of the family with its generation one higher.
    Current {
        /// Whose device it signs in.
        user: UserId,
        /// That device.
        device: DeviceName,
    },
    /// The one before, presented again in the same attempt: the answer was lost on its way, and is to be given again.
    Repeated {
        /// Whose device it signs in.
        user: UserId,
        /// That device.
        device: DeviceName,
    },
    /// One that was good before: it was used twice, so two hold it. The family has to be revoked.
    Reused,
}

impl Pepper {
    /// A new id for a family.
    ///
    /// # Errors
    ///
    /// [`KeyError::Random`] when the system gives no random bytes.
    pub fn family_id(&self) -> Result<KeyId, KeyError> {
        KeyId::parse(&opaque::random_letters(ID_LETTERS)?).map_err(|_| KeyError::Random)
    }

    /// The token of this family's present generation.
    pub fn refresh_token(&self, family: &Family) -> Secret {
        let number = opaque::number(family.generation);
        let hash = self.hash_of(family, family.generation);
        let body = format!("{}{number}{hash}", family.id);
        Secret::new(opaque::assemble(REFRESH_PREFIX, &body))
    }

    /// What the presented token is at `now`, if it is one of this family.
    ///
    /// # Errors
    ///
    /// [`AuthError::BadKey`] where it is not, or there is no family; [`AuthError::Revoked`] and
    /// [`AuthError::KeyExpired`] of a true one only.
    pub fn verify_refresh(
        &self,
        token: &PresentedRefresh<'_>,
        family: Option<&Family>,
        attempt: Option<Attempt>,
        now: SystemTime,
    ) -> Result<Refresh, AuthError> {
        let family = family.ok_or(AuthError::BadKey)?;
        let expected = self.hash_of(family, token.generation);
        let is_true = bool::from(expected.as_bytes().ct_eq(token.hash.as_bytes()));
        if !is_true || token.id != family.id || token.generation > family.generation {
            return Err(AuthError::BadKey);
        }
        if family.revoked_at.is_some() {
            return Err(AuthError::Revoked);
        }
        let is_current = token.generation == family.generation;
        let is_repeated = family.generation.checked_sub(1) == Some(token.generation)
            && attempt.is_some()
            && attempt == family.attempt;
        if !is_current && !is_repeated {
            return Ok(Refresh::Reused);
        }
        if now >= family.expires_at {
            return Err(AuthError::KeyExpired);
        }
        let user = UserId::new(Arc::clone(&family.issuer), Arc::clone(&family.subject));
        let device = family.device.clone();
        Ok(match is_current {
            true => Refresh::Current { user, device },
            false => Refresh::Repeated { user, device },
        })
    }

    fn hash_of(&self, family: &Family, generation: u32) -> String {
        let number = opaque::number(generation);
        let texts = [
            family.id.as_str(),
            &number,
            &family.issuer,
            &family.subject,
            family.device.as_str(),
        ];
        let hash = mac(&self.refresh, texts.into_iter());
        let mut first = [0; 16];
        for (to, from) in first.iter_mut().zip(hash) {
            *to = from;
        }
        opaque::letters_of(u128::from_be_bytes(first), HASH_LETTERS)
    }
}
