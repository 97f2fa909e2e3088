//! The command line: which commands there are, and how the tables of settings become their flags.
//!
//! Invariant: clap takes texts only. What they mean is judged in `settings`, where every mistake is reported at once.

use std::{fmt, marker::PhantomData, path::PathBuf};

use clap::{Arg, ArgAction, ArgMatches, Command as ClapCommand};
use clap_complete::Shell;

use crate::{
    build_info,
    exit::EXIT_CODES,
    settings::{
        Flags, Form, Reach, Setting, Table, agent, audit, dev, doctor, general, login, relay, token,
    },
};

const PRECEDENCE: &str = "\
Every flag is also an environment variable and a key of an optional TOML file; a flag counts over
the environment, that over the file, that over the default. `c2l config show` tells which it was.";

const MANAGED: &str = "\
Asks the relay that runs with this --data-dir, through a socket that only its owner can open; where none runs, does it on
the relay's database. Whatever is taken back ends what it has under way, too.";

/// Use the models on your own machine from anywhere, over plain HTTP, without opening a port.
#[derive(Debug, clap::Parser)]
#[command(
    name = "c2l",
    version = build_info::version(),
    after_help = PRECEDENCE,
    after_long_help = format!("{PRECEDENCE}\n\n{EXIT_CODES}"),
    max_term_width = 110,
    arg_required_else_help = true
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) general: Typed<General>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Start relay and agent together on this machine, and print what to paste where
    Dev(Typed<Dev>),
    /// Run the relay: the public HTTP port, and the port that agents connect to
    Relay(Typed<Relay>),
    /// Run the agent: connect this machine's models to a relay
    #[command(
        after_help = "The token comes from --token-file, --token-command, or the environment variable C2L_TOKEN; else from `c2l login`."
    )]
    Agent {
        #[command(flatten)]
        typed: Typed<Agent>,
        #[command(subcommand)]
        command: Option<AgentCommand>,
    },
    /// Log this machine in to a relay: shows a code, and waits until somebody says yes to it
    #[command(after_help = "\
The code is approved on the relay's page /login, by anyone who has a token with the scope account, or on the relay's own
machine with `c2l device approve CODE`. `c2l agent` then needs no token.")]
    Login(Typed<Login>),
    /// End this machine's login at a relay, and forget it here
    Logout(Typed<Logout>),
    /// Check everything between this machine's models and the relay, and say what to do about what fails
    #[command(after_help = "\
Takes the flags of `c2l agent`, and does not disturb one that runs. Each check may take 5 s. With an api token
(--api-token-file, or the environment variable C2L_API_TOKEN) one short request goes through the whole loop.
Exit code 0 when nothing failed, 1 otherwise.")]
    Doctor(Typed<Doctor>),
    /// Make tokens, and take them back
    #[command(subcommand)]
    Token(TokenCommand),
    /// Make keys for programs, list them, and take them back
    #[command(subcommand, after_help = MANAGED)]
    Key(KeyCommand),
    /// Sign a user out everywhere
    #[command(subcommand, after_help = MANAGED)]
    User(UserCommand),
    /// Let a device in that waits with a code, or take one out
    #[command(subcommand, after_help = MANAGED)]
    Device(DeviceCommand),
    /// Look at the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print the completions for a shell
    Completions {
        /// Which shell
        shell: Shell,
    },
}

/// What else there is to do with an agent than to run it.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum AgentCommand {
    /// Ask the agent that runs on this machine how it is: connected since when, through what, requests, last error
    Status {
        /// Print the answer as one JSON object
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        typed: Typed<AgentStatus>,
    },
    /// Have the system run the agent for this user, with these flags and what else is set now
    #[command(after_help = "\
The flags go into a configuration file of the service's own, which only this user may read; the token comes from
--token-file or --token-command, else from `c2l login`.")]
    Install {
        /// Only show what would be written and run
        #[arg(long)]
        print: bool,
        #[command(flatten)]
        typed: Typed<Agent>,
    },
    /// Undo `install`; the token's file, or the login, stays
    Uninstall {
        /// Only show what would be run and removed
        #[arg(long)]
        print: bool,
    },
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum TokenCommand {
    /// Print a token that is signed with the relay's own key, and nothing else
    Issue(Typed<Token>),
    /// Revoke one token
    #[command(after_help = MANAGED)]
    Revoke {
        #[command(flatten)]
        name: TokenName,
        #[command(flatten)]
        asked: Asked,
    },
}

/// By what a token is named; itself on stdin when nothing is said.
#[derive(Debug, clap::Args)]
pub(crate) struct TokenName {
    /// The token's id (jti)
    #[arg(long, value_name = "ID")]
    pub(crate) id: Option<String>,
    /// Read the token itself from this file; without --id and --file, from stdin
    #[arg(long, value_name = "FILE", conflicts_with = "id")]
    pub(crate) file: Option<PathBuf>,
}

/// How a command on an account is asked for.
#[derive(Debug, clap::Args)]
pub(crate) struct Asked {
    /// Print the answer as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) typed: Typed<Account>,
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum KeyCommand {
    /// Make a key, and print it: the only time that it is shown
    Create {
        #[command(flatten)]
        key: NewKey,
        #[command(flatten)]
        asked: Asked,
    },
    /// List the keys, with their last use
    List {
        #[command(flatten)]
        asked: Asked,
    },
    /// Revoke a key
    Revoke {
        /// The key's id: the first 10 characters behind c2l_
        id: String,
        #[command(flatten)]
        asked: Asked,
    },
    /// Make another key like this one, and let this one end
    Rotate {
        /// The key's id: the first 10 characters behind c2l_
        id: String,
        /// How long the old key goes on, like 1h; not at all unless said
        #[arg(long, value_name = "TIME")]
        overlap: Option<String>,
        #[command(flatten)]
        asked: Asked,
    },
}

/// What a key shall be.
#[derive(Debug, clap::Args)]
pub(crate) struct NewKey {
    /// What you call it
    pub(crate) name: String,
    /// What it is for: api (the default) to call models, agent to open an agent's session
    #[arg(long, value_name = "api|agent")]
    pub(crate) kind: Option<String>,
    /// What it allows: infer (the default), manage, or both with a comma
    #[arg(long, value_name = "SCOPE", value_delimiter = ',')]
    pub(crate) scope: Vec<String>,
    /// Limit it to models of this pattern, like qwen3:*; may be repeated
    #[arg(long, value_name = "PATTERN")]
    pub(crate) model: Vec<String>,
    /// Bind it to the one device of this name
    #[arg(long, value_name = "NAME")]
    pub(crate) bound_device: Option<String>,
    /// How long it is valid, like 90d; until it is revoked unless said
    #[arg(long, value_name = "TIME")]
    pub(crate) expires: Option<String>,
    /// Most requests in a minute
    #[arg(long, value_name = "N")]
    pub(crate) requests_per_minute: Option<String>,
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum UserCommand {
    /// Print a link that signs one browser in, once, within 15 minutes; needs a relay that runs
    Link {
        #[command(flatten)]
        asked: Asked,
    },
    /// End every token and device login of the user that was issued before now
    SignOut {
        /// Revoke every key as well
        #[arg(long)]
        keys: bool,
        #[command(flatten)]
        asked: Asked,
    },
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum DeviceCommand {
    /// Say yes to the device that shows this code: it becomes the user's
    Approve {
        /// The code that `c2l login` shows there
        code: String,
        /// Also make a key of this name for programs that call the user's models, and print it
        #[arg(long, value_name = "NAME", conflicts_with = "json")]
        key: Option<String>,
        #[command(flatten)]
        asked: Asked,
    },
    /// Say no to it
    Deny {
        /// The code that `c2l login` shows there
        code: String,
        #[command(flatten)]
        asked: Asked,
    },
    /// List the devices that wait, with the first half of their codes, and those of the user
    List {
        #[command(flatten)]
        asked: Asked,
    },
    /// Say what a device is called in lists; without a text, take that away
    Label {
        /// The device's name
        name: String,
        /// What it is called: 1 to 64 bytes
        label: Option<String>,
        #[command(flatten)]
        asked: Asked,
    },
    /// End the device's connection, and what runs on it; its agent connects again by itself
    Disconnect {
        /// The device's name
        name: String,
        #[command(flatten)]
        asked: Asked,
    },
    /// End the device's session, and every token, key and login that is bound to it
    Remove {
        /// The device's name
        name: String,
        #[command(flatten)]
        asked: Asked,
    },
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print each value and where it came from; secrets are hidden
    Show {
        #[command(subcommand)]
        command: Option<Shown>,
    },
}

/// Whose settings are shown; it takes the same flags as the command itself.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Shown {
    /// Those of `c2l relay`
    Relay(Typed<Relay>),
    /// Those of `c2l agent`
    Agent(Typed<Agent>),
    /// Those of `c2l dev`
    Dev(Typed<Dev>),
    /// Those of `c2l doctor`
    Doctor(Typed<Doctor>),
    /// Those of `c2l login`
    Login(Typed<Login>),
    /// Those of `c2l token issue`
    Token(Typed<Token>),
}

/// Which tables a command takes its settings from.
pub(crate) trait Takes {
    /// Those of every command, with this command's defaults.
    const GENERAL: &'static Table = &general::TABLE;
    /// Its own, in the order of `config show`; `--help` begins with the last, which is the command's very own.
    const TABLES: &'static [&'static Table];
    /// Whether the flags may stand after any subcommand.
    const IS_GLOBAL: bool = false;
}

/// Of every command.
#[derive(Debug)]
pub(crate) struct General;

impl Takes for General {
    const TABLES: &'static [&'static Table] = &[&general::TABLE];
    const IS_GLOBAL: bool = true;
}

/// Of `c2l relay`.
#[derive(Debug)]
pub(crate) struct Relay;

impl Takes for Relay {
    const TABLES: &'static [&'static Table] = &[&general::DATA, &audit::TABLE, &relay::TABLE];
}

/// Of `c2l agent`.
#[derive(Debug)]
pub(crate) struct Agent;

impl Takes for Agent {
    const TABLES: &'static [&'static Table] = &[&general::DATA, &agent::TABLE];
}

/// Of `c2l agent status`.
#[derive(Debug)]
pub(crate) struct AgentStatus;

impl Takes for AgentStatus {
    const TABLES: &'static [&'static Table] = &[&general::DATA, &agent::STATUS_TABLE];
}

/// Of `c2l dev`.
#[derive(Debug)]
pub(crate) struct Dev;

impl Takes for Dev {
    const GENERAL: &'static Table = &general::DEV_TABLE;
    const TABLES: &'static [&'static Table] = &[&general::DATA, &dev::TABLE];
}

/// Of `c2l doctor`.
#[derive(Debug)]
pub(crate) struct Doctor;

impl Takes for Doctor {
    const GENERAL: &'static Table = &general::DOCTOR_TABLE;
    const TABLES: &'static [&'static Table] = &[&general::DATA, &agent::TABLE, &doctor::TABLE];
}

/// Of `c2l login`.
#[derive(Debug)]
pub(crate) struct Login;

impl Takes for Login {
    const TABLES: &'static [&'static Table] = &[&general::DATA, &agent::WAY_TABLE, &login::TABLE];
}

/// Of `c2l logout`.
#[derive(Debug)]
pub(crate) struct Logout;

impl Takes for Logout {
    const TABLES: &'static [&'static Table] = &[&general::DATA, &agent::WAY_TABLE];
}

/// Of `c2l token issue`.
#[derive(Debug)]
pub(crate) struct Token;

impl Takes for Token {
    const TABLES: &'static [&'static Table] = &[&general::DATA, &token::TABLE];
}

/// Of what manages a user's account.
#[derive(Debug)]
pub(crate) struct Account;

impl Takes for Account {
    const TABLES: &'static [&'static Table] = &[&general::DATA, &token::ACCOUNT_TABLE];
}

/// What was typed of a command's flags.
pub(crate) struct Typed<C> {
    pub(crate) flags: Flags,
    command: PhantomData<C>,
}

impl<C> Typed<C> {
    /// No flag at all.
    pub(crate) fn nothing() -> Self {
        Self {
            flags: Flags::new(),
            command: PhantomData,
        }
    }
}

impl<C> fmt::Debug for Typed<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Typed").field(&self.flags).finish()
    }
}

fn settings<C: Takes>() -> impl Iterator<Item = &'static Setting> {
    C::TABLES
        .iter()
        .rev()
        .flat_map(|table| table.settings)
        .filter(|setting| setting.reach != Reach::EnvironmentOnly)
}

impl<C: Takes> clap::Args for Typed<C> {
    fn augment_args(command: ClapCommand) -> ClapCommand {
        let heading = C::IS_GLOBAL.then_some("Options of every command");
        let arguments = settings::<C>()
            .map(|setting| argument(setting).global(C::IS_GLOBAL).help_heading(heading));
        command.args(arguments)
    }

    fn augment_args_for_update(command: ClapCommand) -> ClapCommand {
        Self::augment_args(command)
    }
}

impl<C: Takes> clap::FromArgMatches for Typed<C> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let typed = settings::<C>().filter_map(|setting| {
            let texts = matches.get_many::<String>(setting.name)?;
            let texts = texts.flat_map(|text| setting.split(text)).collect();
            Some((setting.name, texts))
        });
        Ok(Self {
            flags: typed.collect(),
            command: PhantomData,
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

fn argument(setting: &Setting) -> Arg {
    let argument = Arg::new(setting.name)
        .long(setting.name)
        .help(setting.help())
        .hide_short_help(setting.is_rare);
    match setting.form {
        Form::Switch => argument
            .value_name("BOOL")
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true"),
        Form::One(placeholder) => argument.value_name(placeholder),
        Form::Many(placeholder) => argument.value_name(placeholder).action(ArgAction::Append),
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser as _};

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn general_flags_may_stand_anywhere() {
        for line in [
            ["c2l", "--log-level=debug", "dev"],
            ["c2l", "dev", "--log-level=debug"],
        ] {
            let cli = Cli::try_parse_from(line).unwrap();
            assert_eq!(cli.general.flags["log-level"], ["debug"], "{line:?}");
        }
    }

    #[test]
    fn no_token_is_taken_from_the_command_line() {
        for line in [["c2l", "agent", "--token"], ["c2l", "agent", "--token=x"]] {
            assert!(Cli::try_parse_from(line).is_err(), "{line:?}");
        }
    }

    #[test]
    fn every_flag_says_its_variable() {
        for setting in settings::<Agent>().chain(settings::<Relay>()) {
            assert!(setting.help().contains(&setting.variable()), "{setting:?}");
        }
    }

    #[test]
    fn help_of_dev_reads_like_this() {
        let mut command = Cli::command();
        let dev = command.find_subcommand_mut("dev").unwrap();
        let help = dev.render_help().to_string();
        for line in [
            "Start relay and agent together on this machine, and print what to paste where",
            "--listen <ADDR>",
            "[env: C2L_LISTEN]",
            "[default: 127.0.0.1:8080]",
            "--allow-manage[=<BOOL>]",
            "[default: the user's data directory]",
        ] {
            assert!(help.contains(line), "{line} is missing in:\n{help}");
        }
    }

    #[test]
    fn long_help_tells_the_exit_codes_and_short_help_leaves_out_the_rare() {
        let mut command = Cli::command();
        assert!(
            command
                .render_long_help()
                .to_string()
                .contains("token refused")
        );
        let relay = command.find_subcommand_mut("relay").unwrap();
        assert!(!relay.render_help().to_string().contains("--idle-timeout"));
        assert!(
            relay
                .render_long_help()
                .to_string()
                .contains("--idle-timeout")
        );
    }
}
