//! What all of it does together, without a relay around it.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use c2l_auth::{KeyRequest, Kind, Scopes, SigningKey, TokenRequest, Verifier};

use super::*;
use crate::{
    Accounts, RateLimits,
    limits::{Asker, Guard},
    providers::Providers,
};

async fn load(verifier: &Arc<Verifier>, accounts: &Accounts) -> Arc<Identities> {
    let providers = Arc::new(Providers::unasked(Arc::clone(verifier)));
    let guard = Arc::new(Guard::new(RateLimits::off()));
    let loaded = Identities::load(providers, guard, accounts.clone()).await;
    loaded.unwrap()
}

#[tokio::test]
async fn what_was_revoked_between_the_start_and_the_first_look_is_seen_by_it() {
    let key = SigningKey::ephemeral().unwrap();
    let verifier = Arc::new(Verifier::new(vec![key.issuer()]).unwrap());
    let accounts = Accounts::in_memory().unwrap();
    let request = TokenRequest {
        user: "ada".to_owned(),
        kind: Kind::Api,
        scopes: Scopes::INFER,
        ttl: Duration::from_secs(60),
        device: None,
    };
    let token = key.issue(&request, SystemTime::now()).unwrap();
    let nobody = Asker::of(&http::Extensions::new());
    let ours = load(&verifier, &accounts).await;
    let other = load(&verifier, &accounts).await;
    let identified = ours.identify(&nobody, token.expose(), &[Kind::Api]).await;
    let user = identified.unwrap().user.clone();
    other
        .revoke_token(&user, TokenName::Whole(token.expose().to_owned().into()))
        .await
        .unwrap();
    ours.look(&mut None).await.unwrap();
    let again = ours.identify(&nobody, token.expose(), &[Kind::Api]).await;
    assert!(again.unwrap_err().message.contains("revoked"));
}

#[tokio::test]
async fn keys_are_listed_as_they_were_made_also_after_a_restart() {
    let key = SigningKey::ephemeral().unwrap();
    let verifier = Arc::new(Verifier::new(vec![key.issuer()]).unwrap());
    let accounts = Accounts::in_memory().unwrap();
    let identities = load(&verifier, &accounts).await;
    let user = identities.name_user(c2l_auth::OWN_ISSUER, "ada").unwrap();
    let mut made: Vec<String> = Vec::new();
    for turn in 0..12 {
        let request = KeyRequest {
            name: turn.to_string(),
            kind: Kind::Api,
            scopes: Scopes::INFER,
            device: None,
            models: Vec::new(),
            requests_per_minute: None,
            ttl: None,
        };
        let key = match made.last() {
            Some(last) if turn % 3 == 2 => {
                let rotated = identities.rotate_key(&user, last, Duration::from_secs(60));
                rotated.await
            }
            _ => identities.make_key(&user, &request).await,
        };
        made.push(key.unwrap().record.id.as_str().to_owned());
    }
    let again = load(&verifier, &accounts).await;
    for held in [identities, again] {
        let listed = held.keys_of(&user);
        let listed: Vec<_> = listed
            .iter()
            .map(|listed| listed.record.id.as_str())
            .collect();
        assert_eq!(listed, made);
    }
}
