//! The `c2l` program: from the command line to a running relay or agent, and back to an exit code.
//!
//! Invariant: only this crate knows clap, anyhow, signals, the environment and stdout. Nothing is bound before every
//! setting has been judged.
//!
//! 1. [`args`] reads the command line into texts.
//! 2. [`settings`] joins them with environment, file and defaults, and reports every mistake at once.
//! 3. [`logging`] starts.
//! 4. [`commands`] does what was asked; [`signals`] says when to stop.
//! 5. [`exit`] turns what went wrong into a sentence and a code.

mod args;
mod audit_log;
mod build_info;
mod certificate;
mod commands;
mod control;
mod cores;
mod device;
mod exit;
mod face;
mod files;
mod logging;
mod login;
mod output;
#[cfg(unix)]
mod private_socket;
mod public_port;
mod screen;
mod service;
mod settings;
mod signals;
mod token_source;

use std::{future::Future, process::ExitCode, time::Duration};

use anyhow::Context as _;
use clap::{CommandFactory as _, Parser as _};
use tokio::runtime::{Builder, Runtime};
use tracing::warn;

use crate::{
    args::{
        Agent, AgentCommand, Asked, Cli, Command, ConfigCommand, Dev, DeviceCommand, Doctor,
        KeyCommand, Login, Relay, Shown, Takes, Token, TokenCommand, Typed, UserCommand,
    },
    logging::Log,
    settings::{
        Environment, Flags, Mistakes, Values, agent, dev, doctor, general, login as login_settings,
        relay, token,
    },
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long what blocks a thread (a name being looked up) may hold up the exit.
const LAST_WAIT: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    cores::forbid();
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => exit::report(&error),
    }
}

fn run(cli: Cli) -> anyhow::Result<()> {
    let general = cli.general.flags;
    match cli.command {
        Command::Relay(typed) => {
            let (settings, log) = prepare_log(&general, typed, relay::read)?;
            let passed = public_port::Passed::take()?;
            let ended = on(
                serving(settings.worker_threads),
                commands::relay::run(settings, passed),
            );
            drop(log.audit); // what was said last is written now
            ended
        }
        Command::Agent {
            command: None,
            typed,
        } => {
            let (settings, log) = prepare_log(&general, typed, agent::read)?;
            // One session and one upstream: more threads would only cost memory.
            on(
                Builder::new_current_thread(),
                commands::agent::run(settings, &log.screen),
            )
        }
        Command::Agent {
            command: Some(command),
            typed,
        } => {
            // Of a flag in front of the command nobody would take notice.
            let misplaced = |name: &&str| format!("--{name} stands behind the command, not before");
            let misplaced: Vec<_> = typed.flags.keys().map(misplaced).collect();
            if misplaced.is_empty() {
                beside_the_agent(&general, command)
            } else {
                Err(Mistakes(misplaced).into())
            }
        }
        Command::Dev(typed) => {
            let settings = prepare(&general, typed, dev::read)?;
            on(Builder::new_multi_thread(), commands::dev::run(settings))
        }
        Command::Login(typed) => {
            let settings = prepare(&general, typed, login_settings::read)?;
            on(
                Builder::new_current_thread(),
                commands::login::login(settings),
            )
        }
        Command::Logout(typed) => {
            let settings = prepare(&general, typed, login_settings::read_logout)?;
            on(
                Builder::new_current_thread(),
                commands::login::logout(settings),
            )
        }
        Command::Doctor(typed) => examine(&general, typed),
        Command::Token(TokenCommand::Issue(typed)) => {
            commands::token::issue(&prepare(&general, typed, token::read)?)
        }
        Command::Token(TokenCommand::Revoke { name, asked }) => {
            manage(&general, asked, async |account, is_json| {
                commands::account::revoke_token(account, name, is_json).await
            })
        }
        Command::Key(command) => manage_keys(&general, command),
        Command::User(UserCommand::Link { asked }) => {
            manage(&general, asked, async |account, is_json| {
                commands::account::make_link(account, is_json).await
            })
        }
        Command::User(UserCommand::SignOut { keys, asked }) => {
            manage(&general, asked, async |account, is_json| {
                commands::account::sign_out(account, keys, is_json).await
            })
        }
        Command::Device(command) => manage_devices(&general, command),
        Command::Config(ConfigCommand::Show { command }) => show(&general, command),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "c2l", &mut script);
            output::print(&String::from_utf8(script)?).context("cannot print")
        }
    }
}

fn manage_keys(general: &Flags, command: KeyCommand) -> anyhow::Result<()> {
    match command {
        KeyCommand::Create { key, asked } => manage(general, asked, async |account, is_json| {
            commands::account::create_key(account, key, is_json).await
        }),
        KeyCommand::List { asked } => manage(general, asked, async |account, is_json| {
            commands::account::list_keys(account, is_json).await
        }),
        KeyCommand::Revoke { id, asked } => manage(general, asked, async |account, is_json| {
            commands::account::revoke_key(account, &id, is_json).await
        }),
        KeyCommand::Rotate { id, overlap, asked } => {
            manage(general, asked, async |account, is_json| {
                commands::account::rotate_key(account, &id, overlap.as_deref(), is_json).await
            })
        }
    }
}

fn manage_devices(general: &Flags, command: DeviceCommand) -> anyhow::Result<()> {
    match command {
        DeviceCommand::Approve { code, key, asked } => {
            manage(general, asked, async |account, is_json| {
                commands::account::approve_device(account, &code, key, is_json).await
            })
        }
        DeviceCommand::Deny { code, asked } => manage(general, asked, async |account, is_json| {
            commands::account::deny_device(account, &code, is_json).await
        }),
        DeviceCommand::List { asked } => manage(general, asked, async |account, is_json| {
            commands::account::list_devices(account, is_json).await
        }),
        DeviceCommand::Label { name, label, asked } => {
            manage(general, asked, async |account, is_json| {
                commands::account::label_device(account, &name, label, is_json).await
            })
        }
        DeviceCommand::Disconnect { name, asked } => {
            manage(general, asked, async |account, is_json| {
                commands::account::disconnect_device(account, &name, is_json).await
            })
        }
        DeviceCommand::Remove { name, asked } => {
            manage(general, asked, async |account, is_json| {
                commands::account::remove_device(account, &name, is_json).await
            })
        }
    }
}

/// Does something with a user's account.
fn manage(
    general: &Flags,
    asked: Asked,
    work: impl AsyncFnOnce(token::Account, bool) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let account = prepare(general, asked.typed, token::read_account)?;
    on(Builder::new_current_thread(), work(account, asked.json))
}

/// What there is to do with an agent other than to run it.
fn beside_the_agent(general: &Flags, command: AgentCommand) -> anyhow::Result<()> {
    match command {
        AgentCommand::Status { json, typed } => {
            let settings = prepare(general, typed, agent::read_status)?;
            on(
                Builder::new_current_thread(),
                commands::agent_status::run(settings, json),
            )
        }
        AgentCommand::Install { print, typed } => {
            let settings = prepare(general, typed, agent::read_service)?;
            commands::service::install(&settings, print)
        }
        AgentCommand::Uninstall { print } => commands::service::uninstall(print),
    }
}

/// A runtime of so many threads. On one alone nothing is ever handed to another thread, and none has to be woken for it.
fn serving(threads: usize) -> Builder {
    if threads == 1 {
        return Builder::new_current_thread();
    }
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(threads);
    builder
}

/// Runs `work` to its end on a runtime made for it.
fn on(mut builder: Builder, work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime: Runtime = builder
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let result = runtime.block_on(work);
    runtime.shutdown_timeout(LAST_WAIT);
    result
}

/// Unlike the others, `doctor` starts with mistakes in its settings, too: they are its first finding.
fn examine(general: &Flags, typed: Typed<Doctor>) -> anyhow::Result<()> {
    let mut values = resolve(general, typed, &environment);
    let log = general::read_log(&mut values);
    let settings = agent::read(&mut values);
    let own = doctor::read(&mut values);
    if general::allows_core_dumps(&mut values) {
        cores::allow();
    }
    let mistakes = values.check().err().map_or_else(Vec::new, |found| found.0);
    logging::start(log).context("cannot start logging")?;
    let patient = commands::doctor::Patient {
        settings: settings.filter(|_| mistakes.is_empty()),
        mistakes,
        values,
    };
    on(
        Builder::new_current_thread(),
        commands::doctor::run(patient, own),
    )
}

/// Reads the settings of a command, then starts logging as they say.
fn prepare<C: Takes, T>(
    general: &Flags,
    typed: Typed<C>,
    read: fn(&mut Values) -> Option<T>,
) -> anyhow::Result<T> {
    prepare_log(general, typed, read).map(|(settings, _)| settings)
}

/// The same, for a command that shows a status line beside its log, or keeps an audit log.
fn prepare_log<C: Takes, T>(
    general: &Flags,
    typed: Typed<C>,
    read: fn(&mut Values) -> Option<T>,
) -> anyhow::Result<(T, Log)> {
    let mut values = resolve(general, typed, &environment);
    let wanted = general::read_log(&mut values);
    let settings = read(&mut values);
    if general::allows_core_dumps(&mut values) {
        cores::allow();
    }
    values.check()?;
    let log = logging::start(wanted).context("cannot start logging")?;
    for warning in values.take_warnings() {
        warn!("{warning}");
    }
    let settings = settings.context("a setting is missing, and nobody said so")?;
    Ok((settings, log))
}

fn resolve<C: Takes>(general: &Flags, typed: Typed<C>, environment: Environment<'_>) -> Values {
    let mut flags = typed.flags;
    flags.extend(general.clone());
    let tables: Vec<_> = [C::GENERAL].iter().chain(C::TABLES).copied().collect();
    let file = general::config_file(&flags, environment);
    Values::resolve(&tables, &flags, environment, file)
}

fn environment(name: &str) -> Option<std::ffi::OsString> {
    std::env::var_os(name)
}

/// Prints the settings, then reports the mistakes in them.
fn show(general: &Flags, command: Option<Shown>) -> anyhow::Result<()> {
    let mut shown = match command {
        Some(Shown::Relay(typed)) => vec![shown(general, typed, relay::read)],
        Some(Shown::Agent(typed)) => vec![shown(general, typed, agent::read)],
        Some(Shown::Dev(typed)) => vec![shown(general, typed, dev::read)],
        Some(Shown::Doctor(typed)) => vec![shown(general, typed, |values| {
            doctor::read(values);
            agent::read(values)
        })],
        Some(Shown::Login(typed)) => vec![shown(general, typed, login_settings::read)],
        Some(Shown::Token(typed)) => vec![shown(general, typed, token::read)],
        None => vec![
            shown(general, Typed::<Relay>::nothing(), relay::read),
            // What an agent lacks is no mistake on a machine that may never run one; a token is always for someone.
            shown(general, Typed::<Agent>::nothing(), |_| None::<()>),
            shown(general, Typed::<Dev>::nothing(), dev::read),
            shown(general, Typed::<Doctor>::nothing(), |_| None::<()>),
            shown(general, Typed::<Login>::nothing(), |_| None::<()>),
            shown(general, Typed::<Token>::nothing(), |_| None::<()>),
        ],
    };
    let text: String = commands::config_show::render(shown.iter().map(|(text, _)| text));
    output::print(&text).context("cannot print")?;
    let mut mistakes: Vec<String> = Vec::new();
    for (_, found) in &mut shown {
        mistakes.append(&mut found.0);
    }
    mistakes.sort();
    mistakes.dedup();
    if mistakes.is_empty() {
        return Ok(());
    }
    Err(Mistakes(mistakes).into())
}

fn shown<C: Takes, T>(
    general: &Flags,
    typed: Typed<C>,
    read: fn(&mut Values) -> Option<T>,
) -> (Values, Mistakes) {
    let mut values = resolve(general, typed, &environment);
    general::read_log(&mut values);
    general::allows_core_dumps(&mut values);
    read(&mut values);
    let mistakes = values.check().err().unwrap_or(Mistakes(Vec::new()));
    (values, mistakes)
}
