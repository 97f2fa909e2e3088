//! What a verified credential allows: the vocabulary of kinds and scopes, and the grant itself.
//!
//! Invariant: kinds never stand in for each other, and a scope that this version does not know allows nothing.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::SystemTime;

use crate::{DeviceName, KeyId, UserId};

/// What a token is for. Each place accepts the kinds it names and no other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// May open an agent's session.
    Agent,
    /// May call models.
    Api,
    /// A signed-in browser.
    Web,
}

impl Kind {
    /// Every kind, in the order of declaration.
    pub const ALL: [Self; 3] = [Self::Agent, Self::Api, Self::Web];

    /// The word in the token and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Api => "api",
            Self::Web => "web",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(word: &str) -> Result<Self, UnknownKind> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == word)
            .ok_or(UnknownKind)
    }
}

/// The word names no kind of token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a token is one of: agent, api, web")]
pub struct UnknownKind;

/// One thing that a token may allow its holder to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// Use models: chat, generate, embed, list, show.
    Infer,
    /// Change what is installed: pull, push, create, copy, delete, upload.
    Manage,
    /// Manage one's own account at the relay: keys, devices, sign-outs. No key ever carries it.
    Account,
}

impl Scope {
    /// Every scope, in the order in which a set is written.
    pub const ALL: [Self; 3] = [Self::Infer, Self::Manage, Self::Account];

    /// The word in the token and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Infer => "infer",
            Self::Manage => "manage",
            Self::Account => "account",
        }
    }

    fn bit(self) -> u8 {
        match self {
            Self::Infer => 1,
            Self::Manage => 2,
            Self::Account => 4,
        }
    }

    fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == word)
    }
}

/// A set of [`Scope`]s.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Scopes(u8);

impl Scopes {
    /// Nothing allowed.
    pub const NONE: Self = Self(0);
    /// Models may be used, and nothing changed.
    pub const INFER: Self = Self(1);

    /// Reads words separated by spaces or commas, strictly: for someone who asks for a token. No word is [`Self::NONE`].
    ///
    /// # Errors
    ///
    /// [`UnknownScope`] for any word that is no scope: asking for what does not exist is a mistake to report.
    pub fn parse(words: &str) -> Result<Self, UnknownScope> {
        split(words)
            .map(|word| Scope::from_word(word).ok_or(UnknownScope))
            .collect()
    }

    /// Takes the words of a token that is being verified. Words of others (`openid`, a later version's) allow nothing.
    pub(crate) fn from_claim<'a>(words: impl IntoIterator<Item = &'a str>) -> Self {
        words.into_iter().filter_map(Scope::from_word).collect()
    }

    /// Whether `scope` is in the set.
    pub fn contains(self, scope: Scope) -> bool {
        self.0 & scope.bit() != 0
    }

    /// Whether nothing is allowed.
    pub fn is_empty(self) -> bool {
        self == Self::NONE
    }

    /// The set with `scope` in it.
    #[must_use]
    pub fn with(self, scope: Scope) -> Self {
        Self(self.0 | scope.bit())
    }

    /// The scopes in the set, in the order of [`Scope::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL
            .into_iter()
            .filter(move |scope| self.contains(*scope))
    }
}

fn split(words: &str) -> impl Iterator<Item = &str> {
    words.split([' ', ',']).filter(|word| !word.is_empty())
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        scopes.into_iter().fold(Self::NONE, Self::with)
    }
}

impl fmt::Display for Scopes {
    /// The words, separated by single spaces, as RFC 8693 §4.2 writes the claim.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, scope) in self.iter().enumerate() {
            if place > 0 {
                f.write_str(" ")?;
            }
            f.write_str(scope.as_str())?;
        }
        Ok(())
    }
}

impl fmt::Debug for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scopes({self})")
    }
}

/// A word among the scopes is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a scope is one of: infer, manage, account")]
pub struct UnknownScope;

/// What a verified credential allows, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Whose credential it is.
    pub user: UserId,
    /// What it may be used for; already one of the kinds that the verifying place accepts.
    pub kind: Kind,
    /// What it allows there. A token without the claim means [`Scopes::INFER`].
    pub scopes: Scopes,
    /// The token's own `exp`, without [`LEEWAY`](crate::LEEWAY).
    pub expires_at: SystemTime,
    /// The token's `iat`, where it has one; of a token that comes from a login, when the login began. Whoever ends all tokens of a user from before some time has to end those
    /// without it, too.
    pub issued_at: Option<SystemTime>,
    /// The token's `jti`, by which one token can be revoked.
    pub token_id: Option<Arc<str>>,
    /// The one device that the token is bound to, where it is.
    pub device: Option<DeviceName>,
    /// The device login that the token comes from, where it comes from one.
    pub login: Option<KeyId>,
}

impl Grant {
    /// Whether it allows `scope`. A signed-in browser may always manage its user's own account.
    pub fn allows(&self, scope: Scope) -> bool {
        self.scopes.contains(scope) || (self.kind == Kind::Web && scope == Scope::Account)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_read_exactly() {
        for kind in Kind::ALL {
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
        for word in ["", "Agent", "api ", "admin", "agent,api"] {
            assert_eq!(word.parse::<Kind>(), Err(UnknownKind), "{word:?}");
        }
    }

    #[test]
    fn scopes_are_read_with_spaces_or_commas_and_written_one_way() {
        let both = Scopes::INFER.with(Scope::Manage);
        for text in ["infer manage", "manage,infer", " manage , infer infer "] {
            assert_eq!(Scopes::parse(text), Ok(both), "{text:?}");
        }
        assert_eq!(both.to_string(), "infer manage");
        assert_eq!(Scopes::parse(""), Ok(Scopes::NONE));
        assert_eq!(Scopes::NONE.to_string(), "");
        assert!(both.contains(Scope::Manage) && !Scopes::INFER.contains(Scope::Manage));
    }

    #[test]
    fn an_unknown_scope_is_an_error_to_ask_for_and_nothing_to_hold() {
        for text in ["infer admin", "Infer", "infer;manage", "infer\tmanage"] {
            assert_eq!(Scopes::parse(text), Err(UnknownScope), "{text:?}");
        }
        assert_eq!(
            Scopes::from_claim(["openid", "infer", "profile"]),
            Scopes::INFER
        );
        assert!(Scopes::from_claim(["openid", "MANAGE"]).is_empty());
    }
}
