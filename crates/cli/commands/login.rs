//! `c2l login` and `c2l logout`: this machine gets a credential of its own, and gives it up again.
//!
//! Invariant: a login is kept only once it is whole, and what was kept before counts until then. Nothing secret is
//! printed: the code that is shown opens nothing without somebody's word.

use std::{io::ErrorKind, process::Stdio, time::Duration};

use anyhow::{Context as _, bail};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use c2l_agent::{Config, Errands, TokenError, Transport};
use tokio::{
    process::Command,
    task::spawn_blocking,
    time::{sleep, timeout},
};
use tracing::debug;

use super::agent;
use crate::{
    device,
    login::{
        Place, keyring,
        oauth::{self, Refused, Started, Tokens},
        source, spelled,
        vault::{self, Kept, Record, Secrets},
    },
    output,
    settings::{
        agent::{WaySettings, default_tuning, default_upstream},
        login::{LoginSettings, LogoutSettings},
    },
    signals,
};

/// How long another program may be at the login.
const LOCK_LIMIT: Duration = Duration::from_secs(15);
/// By how much a device that asks too often slows down (RFC 8628 §3.5).
const SLOWER: Duration = Duration::from_secs(5);

/// Shows a code, waits for somebody's word, keeps what the relay then gives.
pub(crate) async fn login(settings: LoginSettings) -> anyhow::Result<()> {
    let stop = signals::shutdown().context("cannot catch signals")?;
    let way = &settings.way;
    let errands = errands(way)?;
    let kept = kept(settings.kept).await?;
    let place = Place::of(&way.data_dir, &way.relay);
    let started = oauth::start(&errands, &way.device).await;
    let started = started.context("the relay does not begin a login")?;
    show(way, &started)?;
    if settings.opens_browser {
        open(&page(way, &started));
    }
    let tokens = tokio::select! {
        tokens = approved(&errands, &started) => tokens?,
        () = stop.cancelled() => bail!("not logged in: stopped while waiting"),
    };
    let user = user_of(tokens.access.expose());
    let record = Record {
        relay: spelled(&way.relay),
        device: way.device.as_str().to_owned(),
        kept,
    };
    let before = replace(&place, record, source::after(tokens)).await;
    let before = before.context("logged in, but the login cannot be kept")?;
    if let Some(before) = before {
        // The relay ends a login that is replaced under the same name; this one may have had another.
        if let Err(error) = oauth::revoke(&errands, &before.refresh).await {
            debug!(%error, "the login before this one was not ended at the relay");
        }
    }
    let user = user.map_or_else(String::new, |user| format!(" as a device of {user}"));
    let whereabouts = match kept {
        Kept::InFile => place.file.display().to_string(),
        Kept::InKeyring => "the system's keyring".to_owned(),
    };
    print(&format!(
        "\n{} is logged in{user}. The login is kept in {whereabouts}.\nNow run `c2l agent`.\n",
        way.device
    ))
}

/// Ends the login at the relay, and forgets it here whatever the relay says.
pub(crate) async fn logout(settings: LogoutSettings) -> anyhow::Result<()> {
    let Some(way) = settings.way else {
        return print("This machine is not logged in anywhere.\n");
    };
    let place = Place::of(&way.data_dir, &way.relay);
    let locked = timeout(LOCK_LIMIT, place.lock()).await;
    let locked = locked
        .context("another program is at the login")?
        .context("cannot lock the login")?;
    let loaded = locked.on_disk(vault::load).await;
    let relay = spelled(&way.relay);
    let told = match &loaded {
        Ok((_, secrets)) => tell(&way, secrets).await,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return print(&format!("This machine is not logged in to {relay}.\n"));
        }
        Err(error) => Err(anyhow::anyhow!(
            "what is kept of it cannot be read: {error}"
        )),
    };
    let forgotten = locked.on_disk(vault::forget).await;
    forgotten.context("the login cannot be forgotten")?;
    match told {
        Ok(()) => print(&format!("Logged out of {relay}.\n")),
        Err(error) => print(&format!(
            "The login is forgotten here. {relay} was not told ({error:#}): there it lasts until it was not used for \
             a time, or until it is ended there.\n"
        )),
    }
}

async fn tell(way: &WaySettings, secrets: &Secrets) -> anyhow::Result<()> {
    oauth::revoke(&errands(way)?, &secrets.refresh).await?;
    Ok(())
}

/// The way of the agent, for whoever has no token yet.
fn errands(way: &WaySettings) -> anyhow::Result<Errands> {
    let device_id = device::load_or_create(&way.data_dir)?;
    let none = std::sync::Arc::new(|| {
        let error = TokenError::new("there is no token before the login");
        Box::pin(std::future::ready(Err(error))) as _
    });
    let config = Config {
        allow_insecure: way.allow_insecure,
        ca_file: way.ca_file.clone(),
        skip_verify: way.skip_verify,
        client_certificate: way.client_certificate.clone(),
        transport: Transport::Auto,
        proxy: way.proxy.clone(),
        dial_timeout: way.dial_timeout,
        ..agent::config(
            way.relay.clone(),
            default_upstream(),
            none,
            &way.device,
            device_id,
            default_tuning(),
        )
    };
    Ok(Errands::new(config)?)
}

async fn kept(wanted: Option<Kept>) -> anyhow::Result<Kept> {
    let is_there = match wanted {
        Some(Kept::InFile) => return Ok(Kept::InFile),
        Some(Kept::InKeyring) | None => spawn_blocking(keyring::is_there).await?,
    };
    match (is_there, wanted) {
        (true, _) => Ok(Kept::InKeyring),
        (false, None) => Ok(Kept::InFile),
        (false, Some(_)) => {
            bail!("there is no keyring here that can be used; give --login-store file")
        }
    }
}

fn page(way: &WaySettings, started: &Started) -> String {
    format!("{}/login?code={}", spelled(&way.relay), started.user_code)
}

fn show(way: &WaySettings, started: &Started) -> anyhow::Result<()> {
    let minutes = started.lifetime.as_secs().div_ceil(60);
    print(&format!(
        "To log this machine in as {device}, open\n\n    {page}\n\nand see that it shows the code\n\n    {code}\n\n\
         Or run on the relay's own machine:  c2l device approve {code}\n\
         Waiting for {minutes} min at most.\n",
        device = way.device,
        page = page(way, started),
        code = started.user_code,
    ))
}

/// Asks until somebody has said something. What is in the way may pass; the relay's lifetime is the limit.
async fn approved(errands: &Errands, started: &Started) -> anyhow::Result<Tokens> {
    let mut interval = started.interval;
    let asking = async {
        loop {
            sleep(interval).await;
            match oauth::poll(errands, started).await {
                Ok(tokens) => return Ok(tokens),
                Err(refused) if refused.is("authorization_pending") => {}
                Err(refused) if refused.is("slow_down") => interval += SLOWER,
                Err(refused @ Refused::Word { .. }) => return Err(refused),
                Err(refused) => debug!(%refused, "no answer; asking again"),
            }
        }
    };
    match timeout(started.lifetime + SLOWER, asking).await {
        Ok(tokens) => tokens.context("not logged in"),
        Err(_) => bail!("not logged in: nobody said yes in time"),
    }
}

/// Keeps the new login; answers with the one before, if there was one.
async fn replace(
    place: &Place,
    record: Record,
    secrets: Secrets,
) -> anyhow::Result<Option<Secrets>> {
    let locked = timeout(LOCK_LIMIT, place.lock()).await;
    let locked = locked.context("another program is at the login")??;
    let replaced = locked.on_disk(move |place| {
        let before = vault::load(place).ok();
        vault::save(place, &record, &secrets)?;
        let was_in_keyring = |(before, _): &(Record, _)| before.kept == Kept::InKeyring;
        if before.as_ref().is_some_and(was_in_keyring) && record.kept == Kept::InFile {
            keyring::forget(&place.account())?;
        }
        Ok(before.map(|(_, secrets)| secrets))
    });
    Ok(replaced.await?)
}

/// Whose device it became, as the token says; only for showing.
fn user_of(token: &str) -> Option<String> {
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let payload: serde_json::Value = serde_json::from_slice(&payload).ok()?;
    let user = payload["sub"].as_str()?;
    Some(user.chars().filter(|c| !c.is_control()).take(100).collect())
}

/// Opens a page with whatever this system opens pages with. The address holds the code and nothing else that matters.
fn open(page: &str) {
    let (program, first): (&str, &[&str]) = if cfg!(target_os = "macos") {
        ("open", &[])
    } else if cfg!(windows) {
        ("rundll32", &["url.dll,FileProtocolHandler"])
    } else {
        ("xdg-open", &[])
    };
    let opened = Command::new(program)
        .args(first)
        .arg(page)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    if let Err(error) = opened {
        debug!(%error, program, "no browser was opened");
    }
}

fn print(text: &str) -> anyhow::Result<()> {
    output::print(text).context("cannot print")
}
