//! An identity provider on port 0: a discovery document, a key set, and tokens signed with its keys.
//!
//! Invariant: it counts what is fetched from it, so that a test can say how often, and does nothing by itself.

use std::{
    collections::HashMap,
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::{
    digest, hmac,
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
        RSA_PKCS1_SHA256, RsaKeyPair,
    },
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use c2l_auth::{Algorithm, Issuer};
use c2l_relay::{Provider, ProviderUrl, SignInClient, Source};
use http::{Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    task::{JoinHandle, JoinSet},
};
use tokio_rustls::TlsAcceptor;

use crate::certificates::Authority;

/// What its tokens have as `aud` unless a test says otherwise.
pub const AUDIENCE: &str = "c2l-tests";

/// A running provider. Dropping it ends it.
#[derive(Debug)]
pub struct TestProvider {
    address: SocketAddr,
    tls: Option<Arc<ServerConfig>>,
    state: Arc<Mutex<State>>,
    task: Option<JoinHandle<()>>,
}

/// How it behaves when it is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mood {
    /// It answers.
    Serves,
    /// It takes the request and says nothing.
    Hangs,
    /// It answers with this status, and `Location` if that is one.
    Answers(u16, Option<String>),
    /// Its key set is this text.
    Says(String),
}

#[derive(Debug)]
struct State {
    issuer: String,
    keys: Vec<Value>,
    mood: Mood,
    fetches: u64,
    /// Codes that were given out, and what each brings.
    codes: HashMap<String, Code>,
    /// Forms that were sent to the token endpoint.
    exchanges: u64,
}

/// What a code was given out for.
#[derive(Clone, Debug)]
struct Code {
    redirect_to: String,
    challenge: String,
    id_token: String,
}

/// What the relay is called here.
pub const CLIENT: &str = "c2l-page";

impl TestProvider {
    /// One that publishes these keys, in clear text.
    pub async fn start(keys: &[&ProviderKey]) -> Self {
        Self::start_as(keys, None).await
    }

    /// The same under TLS, with a certificate of the process's authority.
    pub async fn start_tls(keys: &[&ProviderKey]) -> Self {
        let certificate = Authority::of_this_process().issue(&["127.0.0.1"]);
        Self::start_as(keys, Some(certificate.server(&[b"http/1.1"]))).await
    }

    async fn start_as(keys: &[&ProviderKey], tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let scheme = if tls.is_some() { "https" } else { "http" };
        let state = State {
            issuer: format!("{scheme}://{address}"),
            keys: keys.iter().map(|key| key.jwk.clone()).collect(),
            mood: Mood::Serves,
            fetches: 0,
            codes: HashMap::new(),
            exchanges: 0,
        };
        let mut provider = Self {
            address,
            tls,
            state: Arc::new(Mutex::new(state)),
            task: None,
        };
        provider.serve(listener);
        provider
    }

    fn serve(&mut self, listener: TcpListener) {
        let acceptor = self.tls.clone().map(TlsAcceptor::from);
        self.task = Some(tokio::spawn(accept(
            listener,
            acceptor,
            Arc::clone(&self.state),
        )));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its name: `iss` of its tokens.
    #[must_use]
    pub fn issuer(&self) -> String {
        self.state().issuer.clone()
    }

    /// Where its key set is.
    #[must_use]
    pub fn keys_url(&self) -> String {
        format!("{}/jwks", self.issuer())
    }

    /// How often its key set was asked for.
    #[must_use]
    pub fn fetches(&self) -> u64 {
        self.state().fetches
    }

    /// Publishes these keys in the place of what it published before.
    pub fn publish(&self, keys: &[&ProviderKey]) {
        self.state().keys = keys.iter().map(|key| key.jwk.clone()).collect();
    }

    /// Behaves like this from now on.
    pub fn become_(&self, mood: Mood) {
        self.state().mood = mood;
    }

    /// Hangs up, and refuses connections.
    pub async fn stop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
            // The abort is what was asked for.
            drop(task.await);
        }
    }

    /// Comes back at the same address.
    ///
    /// # Panics
    /// When somebody has taken it meanwhile.
    pub async fn start_again(&mut self) {
        let listener = TcpListener::bind(self.address).await;
        self.serve(listener.expect("the same port"));
    }

    /// An issuer for a verifier: its keys are published, and its tokens need no kind of ours.
    #[must_use]
    pub fn as_issuer(&self) -> Issuer {
        Issuer::new(self.issuer(), AUDIENCE)
            .with_published_keys(Algorithm::USUAL)
            .with_default_kind(c2l_auth::Kind::Api)
    }

    /// Where a relay fetches from, by discovery, with nothing but the process's authority to trust.
    ///
    /// # Panics
    /// Never: the address is its own.
    #[must_use]
    pub fn as_provider(&self) -> Provider {
        let url = ProviderUrl::discovery_of(&self.issuer(), false).expect("a URL");
        let tls = Authority::of_this_process().client();
        Provider::new(self.issuer(), Source::Discovery(url), tls)
    }

    /// The same, where people sign in as well.
    #[must_use]
    pub fn as_sign_in(&self) -> Provider {
        Provider {
            sign_in: Some(SignInClient::new(CLIENT)),
            ..self.as_provider()
        }
    }

    /// What a person does here whom a relay has sent to this address: signs in as `user`. Answers with the query that their
    /// browser brings back. The ID token says what `change` makes of it.
    ///
    /// # Panics
    /// When the address is not one to sign in at.
    pub fn sign_in(
        &self,
        address: &str,
        key: &ProviderKey,
        user: &str,
        change: impl FnOnce(&mut Value),
    ) -> String {
        let at = format!("{}/authorize?", self.issuer());
        let query = address.strip_prefix(&at).expect("this provider's address");
        let asked: HashMap<String, String> = fields_of(query);
        let text = |name: &str| {
            asked
                .get(name)
                .unwrap_or_else(|| panic!("no {name}"))
                .clone()
        };
        assert_eq!(
            (
                text("response_type"),
                text("client_id"),
                text("code_challenge_method")
            ),
            ("code".to_owned(), CLIENT.to_owned(), "S256".to_owned())
        );
        assert!(text("scope").split(' ').any(|scope| scope == "openid"));
        let mut claims = self.claims(user);
        claims["aud"] = CLIENT.into();
        claims["nonce"] = text("nonce").into();
        change(&mut claims);
        let code = Code {
            redirect_to: text("redirect_uri"),
            challenge: text("code_challenge"),
            id_token: key.sign(&claims),
        };
        let mut state = self.state();
        let name = format!("code-{}", state.codes.len());
        state.codes.insert(name.clone(), code);
        format!("code={name}&state={}", text("state"))
    }

    /// How often somebody wanted to exchange a code.
    #[must_use]
    pub fn exchanges(&self) -> u64 {
        self.state().exchanges
    }

    /// Claims that are accepted as they are.
    #[must_use]
    pub fn claims(&self, user: &str) -> Value {
        claims_of(&self.issuer(), user)
    }

    /// A token for calling models.
    #[must_use]
    pub fn token(&self, key: &ProviderKey, user: &str) -> String {
        key.sign(&self.claims(user))
    }

    /// A token for opening a session.
    #[must_use]
    pub fn agent_token(&self, key: &ProviderKey, user: &str) -> String {
        let mut claims = self.claims(user);
        claims["c2l_kind"] = "agent".into();
        key.sign(&claims)
    }
}

impl Drop for TestProvider {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, state: Arc<Mutex<State>>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (tls, state) = (tls.clone(), Arc::clone(&state));
        connections.spawn(async move {
            match tls {
                None => serve(stream, state).await,
                // A handshake that fails is for the relay to say.
                Some(tls) => match tls.accept(stream).await {
                    Ok(stream) => serve(stream, state).await,
                    Err(_refused) => {}
                },
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, state: Arc<Mutex<State>>) {
    let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
        let state = Arc::clone(&state);
        async move {
            let path = request.uri().path().to_owned();
            let body = request.into_body().collect().await;
            let body = body.map(|body| body.to_bytes()).unwrap_or_default();
            match answer(&state, &path, &body) {
                Some(answer) => Ok::<_, Infallible>(answer),
                None => std::future::pending().await,
            }
        }
    });
    // How it ends is for the relay to see.
    drop(
        http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service)
            .await,
    );
}

/// `None` for no answer at all.
fn answer(state: &Mutex<State>, path: &str, body: &[u8]) -> Option<Response<Full<Bytes>>> {
    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
    let is_keys = path == "/jwks";
    state.fetches += u64::from(is_keys);
    let mut response = Response::new(Full::default());
    let body = match (&state.mood, path) {
        (Mood::Hangs, _) => return None,
        (Mood::Answers(status, location), _) => {
            *response.status_mut() = StatusCode::from_u16(*status).expect("a status");
            if let Some(location) = location {
                let location = location.parse().expect("a URL");
                response.headers_mut().insert(header::LOCATION, location);
            }
            String::new()
        }
        (Mood::Says(text), "/jwks") => text.clone(),
        (Mood::Serves, "/jwks") => json!({ "keys": state.keys }).to_string(),
        (Mood::Serves | Mood::Says(_), "/.well-known/openid-configuration") => {
            let at = |path: &str| format!("{}{path}", state.issuer);
            json!({
                "issuer": state.issuer,
                "jwks_uri": at("/jwks"),
                "authorization_endpoint": at("/authorize"),
                "token_endpoint": at("/token"),
            })
            .to_string()
        }
        (Mood::Serves | Mood::Says(_), "/token") => {
            let exchanged = state.exchange(&String::from_utf8_lossy(body));
            exchanged.unwrap_or_else(|| {
                *response.status_mut() = StatusCode::BAD_REQUEST;
                json!({ "error": "invalid_grant" }).to_string()
            })
        }
        (Mood::Serves | Mood::Says(_), _) => {
            *response.status_mut() = StatusCode::NOT_FOUND;
            String::new()
        }
    };
    *response.body_mut() = Full::new(Bytes::from(body));
    Some(response)
}

impl State {
    /// What a code brings: once, to who was sent for it, at the place that it was for.
    fn exchange(&mut self, form: &str) -> Option<String> {
        self.exchanges += 1;
        let asked = fields_of(form);
        let code = self.codes.remove(asked.get("code")?)?;
        let hash = digest::digest(&digest::SHA256, asked.get("code_verifier")?.as_bytes());
        let is_right = asked.get("grant_type")? == "authorization_code"
            && asked.get("client_id")? == CLIENT
            && *asked.get("redirect_uri")? == code.redirect_to
            && URL_SAFE_NO_PAD.encode(hash) == code.challenge;
        let answer =
            json!({ "token_type": "Bearer", "access_token": "x", "id_token": code.id_token });
        is_right.then(|| answer.to_string())
    }
}

/// The fields of a form or query, of which none comes twice.
fn fields_of(text: &str) -> HashMap<String, String> {
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    let fields = pairs.map(|(name, value)| (name.to_owned(), decoded(value)));
    fields.collect()
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let mut digit = || char::from(rest.next()?).to_digit(16);
        bytes.push(match byte {
            b'%' => digit()
                .zip(digit())
                .and_then(|(high, low)| u8::try_from(high * 16 + low).ok())
                .expect("a byte"),
            other => other,
        });
    }
    String::from_utf8(bytes).expect("text")
}

/// Claims of this issuer, for [`AUDIENCE`], good for ten minutes.
///
/// # Panics
/// When the clock stands before 1970.
#[must_use]
pub fn claims_of(issuer: &str, user: &str) -> Value {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.expect("after 1970").as_secs();
    json!({ "iss": issuer, "aud": AUDIENCE, "sub": user, "exp": now + 600, "iat": now })
}

/// A key of a provider, both halves.
pub struct ProviderKey {
    /// The public half as it is published.
    pub jwk: Value,
    sign: Sign,
}

type Sign = Box<dyn Fn(&[u8]) -> Vec<u8> + Send + Sync>;

impl std::fmt::Debug for ProviderKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("ProviderKey").field(&self.jwk).finish()
    }
}

impl ProviderKey {
    /// A new Ed25519 key.
    ///
    /// # Panics
    /// When the system has no random numbers; so do the others.
    #[must_use]
    pub fn ed25519(id: &str) -> Self {
        let pair = Ed25519KeyPair::generate().expect("a key");
        let x = URL_SAFE_NO_PAD.encode(pair.public_key().as_ref());
        Self {
            jwk: json!({ "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": id, "x": x }),
            sign: Box::new(move |message| pair.sign(message).as_ref().to_vec()),
        }
    }

    /// A new P-256 key.
    #[must_use]
    pub fn es256(id: &str) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
        let point = pair.public_key().as_ref().to_vec();
        let coordinate = |from: usize| URL_SAFE_NO_PAD.encode(&point[from..from + 32]);
        Self {
            jwk: json!({
                "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": id,
                "x": coordinate(1), "y": coordinate(33),
            }),
            sign: Box::new(move |message| {
                let signature = pair.sign(&SystemRandom::new(), message);
                signature.expect("a signature").as_ref().to_vec()
            }),
        }
    }

    /// A new RSA key, which takes its time.
    #[must_use]
    pub fn rs256(id: &str) -> Self {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key");
        let public = pair.public_key();
        let n = public.modulus().big_endian_without_leading_zero().to_vec();
        let e = public.exponent().big_endian_without_leading_zero().to_vec();
        let (n, e) = (URL_SAFE_NO_PAD.encode(n), URL_SAFE_NO_PAD.encode(e));
        Self {
            jwk: json!({ "kty": "RSA", "alg": "RS256", "use": "sig", "kid": id, "n": n, "e": e }),
            sign: Box::new(move |message| {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(
                    &RSA_PKCS1_SHA256,
                    &SystemRandom::new(),
                    message,
                    &mut signature,
                )
                .expect("a signature");
                signature
            }),
        }
    }

    /// A shared secret, which no provider publishes.
    #[must_use]
    pub fn hs256(secret: &[u8]) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        Self {
            jwk: json!({ "kty": "oct", "alg": "HS256", "kid": "shared" }),
            sign: Box::new(move |message| hmac::sign(&key, message).as_ref().to_vec()),
        }
    }

    /// A token with these claims that names the key.
    #[must_use]
    pub fn sign(&self, claims: &Value) -> String {
        self.sign_with(&json!({ "kid": self.jwk["kid"] }), claims)
    }

    /// A token with these members in its header beside `alg` and `typ`.
    ///
    /// # Panics
    /// When `more` is no object.
    #[must_use]
    pub fn sign_with(&self, more: &Value, claims: &Value) -> String {
        let mut header = json!({ "alg": self.jwk["alg"], "typ": "JWT" });
        let members = header.as_object_mut().expect("an object");
        members.extend(more.as_object().expect("an object").clone());
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(&header), part(claims));
        let signature = URL_SAFE_NO_PAD.encode((self.sign)(message.as_bytes()));
        format!("{message}.{signature}")
    }
}
