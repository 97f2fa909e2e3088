//! Somebody's word on a login, over `/relay/v1` or from the relay's own terminal.
//!
//! Invariant: whose word it is was decided before, by a credential or by the operator; the device becomes that user's.

use c2l_tunnel::{Fault, Kind, Origin};
use serde_json::{Value, json};

use super::{
    Approver, Logins,
    pending::{Asking, NoLogin, Word},
};
use crate::{
    audit::{Event, Who},
    status::unix_seconds,
};

pub(super) const NO_LOGIN: &str = "No login waits under this code. It may be mistyped, have run out, or have been answered already.";

impl Logins {
    /// Who asks under this code, for whoever is about to say something.
    ///
    /// # Errors
    /// `RouteUnknown`, or `UserOverLimit` after too many wrong codes.
    pub(crate) fn describe(
        &self,
        who: &Who<'_>,
        by: &Approver,
        code: &str,
    ) -> Result<Value, Fault> {
        let asking = self.look(code, by, who.address);
        asking.map(|asking| described(&asking)).map_err(no_login)
    }

    /// Says yes or no.
    ///
    /// # Errors
    /// As [`Self::describe`].
    pub(crate) fn say(
        &self,
        who: &Who<'_>,
        by: Approver,
        code: &str,
        word: Word,
    ) -> Result<Value, Fault> {
        let asking = self.decide(code, by, who.address, word);
        let asking = asking.map_err(no_login)?;
        note(who, &asking, word);
        Ok(described(&asking))
    }

    /// Those that wait, for the operator: half of each code, and who asks.
    pub(crate) fn list(&self) -> Value {
        let waiting = self.waiting().into_iter().map(|(code, asking)| {
            let mut shown = described(&asking);
            shown["user_code"] = code.into();
            shown
        });
        json!({ "logins": waiting.collect::<Vec<_>>() })
    }
}

/// Writes somebody's word down.
pub(super) fn note(who: &Who<'_>, asking: &Asking, word: Word) {
    let device = asking.device.as_str();
    let reason = "its user said no";
    who.did(match word {
        Word::Approve => Event::LoginApproved { device },
        Word::Deny => Event::LoginDenied { device, reason },
    });
}

fn described(asking: &Asking) -> Value {
    json!({
        "device": asking.device.as_str(),
        "address": asking.address.to_canonical().to_string(),
        "asked_unix_seconds": unix_seconds(asking.at),
    })
}

fn no_login(none: NoLogin) -> Fault {
    match none {
        NoLogin::Unknown => Fault::new(Kind::RouteUnknown, Origin::Caller, NO_LOGIN).retry_safe(),
        NoLogin::TooMany(wait) => {
            let message = format!(
                "too many wrong codes; try again in {} s",
                wait.as_secs() + 1
            );
            Fault::new(Kind::UserOverLimit, Origin::Caller, message)
                .retry_safe()
                .retry_after(wait)
        }
    }
}
