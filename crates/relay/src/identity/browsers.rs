//! Browsers in which somebody has signed in.
//!
//! Invariant: a browser's token is one of the relay's own, of kind `web`, and names its sign-in. All of one sign-in end
//! together, also those that are made in the very moment in which it ends.

use std::{sync::Arc, time::SystemTime};

use c2l_auth::{AuthError, KeyId, Kind, LEEWAY};
use c2l_store::RevokedToken;
use c2l_tunnel::Fault;

use super::{
    Caller, Identities,
    accounts::{broken, texts, too_many, unstored, whole_milliseconds},
    logins::{MAX_TOKEN_LIFE, name_of_login},
    revocations::MAX_TOKENS_OF_USER,
};
use crate::limits::Asker;

impl Identities {
    /// The id of a new sign-in.
    ///
    /// # Errors
    /// `Internal` without random bytes.
    pub(crate) fn new_browser(&self) -> Result<KeyId, Fault> {
        self.pepper.family_id().map_err(|error| broken(&error))
    }

    /// Whose browser this is, by the token that it keeps.
    ///
    /// # Errors
    /// `Unauthenticated`, `UserOverLimit`; see [`Self::identify`].
    pub(crate) async fn browser(&self, asker: &Asker, token: &str) -> Result<Arc<Caller>, Fault> {
        let caller = self.identify(asker, token, &[Kind::Web]).await?;
        match caller.grant.login {
            Some(_) => Ok(caller),
            // Somebody else's token of this kind is good for signing in, and for nothing else.
            None => {
                Err(self
                    .guard
                    .refused(asker, token, &AuthError::WrongKind { found: Kind::Web }))
            }
        }
    }

    /// Ends the sign-in of this browser: every token of it, from when this answers on.
    ///
    /// # Errors
    /// `UserOverLimit`. `Internal` when it has ended, but only until the relay ends.
    pub(crate) async fn end_browser(&self, caller: &Caller) -> Result<(), Fault> {
        let Some(id) = &caller.grant.login else {
            return Ok(());
        };
        let (issuer, subject) = texts(&caller.user);
        let has_room = self
            .read_revocations()
            .has_room_for_token(&issuer, &subject);
        if !has_room {
            return Err(too_many(format!(
                "{MAX_TOKENS_OF_USER} tokens of this user are revoked already; sign out everywhere instead"
            )));
        }
        let entry = RevokedToken {
            issuer,
            subject,
            token_id: name_of_login(id),
            until: whole_milliseconds(SystemTime::now()) + MAX_TOKEN_LIFE + 2 * LEEWAY,
        };
        let stored = self.store.revoke_token(entry.clone()).await;
        self.write_revocations().add_token(&entry);
        self.begin_epoch();
        stored.map_err(|error| unstored(&error))
    }
}
