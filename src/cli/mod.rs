//! gatewayctl: what a person asks of gatewayd, of a configuration file, of the machine, and of the simulated cloud.

mod action;
mod check;
mod cloud;
mod completion;
mod events;
mod export;
mod failure;
mod look;
mod output;
mod quantity;
mod release;
#[cfg(test)]
mod sample;
mod schema;
mod status;
mod summary;
mod table;
mod tables;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use self::action::{Outcome, Task, Waiting};
use self::failure::{Failure, FailureKind};
use self::look::print;
use crate::control::action::{Action, Rekeyed};
use crate::control::export::ConnectionExport;
use crate::control::reload::Reloaded;
use crate::control::request::Request;
use crate::control::route::Route;
use crate::io::unix::ControlClient;

/// Asks gatewayd and the simulated cloud.
#[derive(Debug, Parser)]
#[command(name = "gatewayctl", version, max_term_width = 100)]
pub struct Arguments {
    /// gatewayd's control socket
    #[arg(long, global = true, env = "GATEWAYD_SOCKET", default_value = "/run/gatewayd/control.sock")]
    socket: PathBuf,
    /// Print JSON instead of text, as `gatewayctl schema` describes it; failures too, on standard error
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Everything: connections with their SAs, routes, dropped packets
    Status(look::StatusArguments),
    /// One line for each connection
    Connections(look::Filter),
    /// The VPN gateway's route table
    Routes,
    /// Negotiate a connection now, and wait until it is up
    Up {
        /// The connection's name
        connection: String,
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Delete a connection's SAs and leave it down
    Down {
        /// The connection's name
        connection: String,
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Replace a connection's keys without interrupting its traffic, and wait until that is done
    Rekey {
        /// The connection's name
        connection: String,
        /// Only the Child SAs of this child
        #[arg(long, value_name = "NAME", conflicts_with = "ike")]
        child: Option<String>,
        /// Only the IKE SA
        #[arg(long)]
        ike: bool,
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Read gatewayd.toml again; tunnels that did not change go on
    Reload,
    /// Open what gatewayd left closed in this network namespace: take its blackholes, rules and nftables table away.
    ///
    /// It needs neither a running gatewayd nor its configuration, and refuses while one runs here. Afterwards nothing is
    /// protected: packets to the VPN routes' destinations go wherever the other routes lead, in clear.
    Release {
        /// Also while a process that may not run a gatewayd holds its name here
        #[arg(long)]
        force: bool,
    },
    /// Follow what happens, one event a line
    Events(events::EventsArguments),
    /// Check a configuration file, or with --host what this machine offers
    Check {
        /// The file to check
        #[arg(required_unless_present = "host")]
        file: Option<PathBuf>,
        /// Check privileges, devices, ports and offloads of this machine and network namespace
        #[arg(long)]
        host: bool,
    },
    /// Print the configuration that the peer of a connection needs
    Export {
        /// The connection's name
        connection: String,
        /// What runs at the peer
        #[arg(long = "for", value_enum)]
        product: export::Product,
        /// Put the pre-shared key of this file (mode 0600) in; gatewayd never gives a key away, so without it a
        /// placeholder is printed
        #[arg(long, value_name = "FILE")]
        psk_file: Option<PathBuf>,
    },
    /// Print the JSON Schema of what --json prints
    Schema,
    /// Call an action of the simulated cloud: cloud PRODUCT ACTION --Parameter VALUE ...
    Cloud(Box<cloud::CloudArguments>),
    /// Print what a shell has to read to complete commands, options, and the cloud's actions and parameters:
    /// source <(gatewayctl completion bash)
    Completion { shell: completion::Shell },
}

/// Where a shell asks what may come next on a command line, answers it and ends the process. To be called first of all.
pub fn complete() {
    completion::complete(Arguments::command);
}

/// The command line of this process; otherwise how it ends, which has been told.
pub fn arguments() -> Result<Arguments, ExitCode> {
    Arguments::try_parse().map_err(|error| {
        let json = std::env::args_os().take_while(|word| word != "--").any(|word| word == "--json");
        if json && error.use_stderr() {
            let error = error.render().to_string();
            Failure { error: error.trim_end().to_owned(), kind: FailureKind::Usage }.tell(true);
        } else {
            // A reader that has gone has read enough.
            let _ = error.print();
        }
        u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from)
    })
}

/// Runs one command; what goes wrong is told on standard error.
pub async fn run(arguments: Arguments) -> ExitCode {
    let json = arguments.json;
    match execute(arguments).await {
        Ok(code) => code,
        Err(error) => {
            let failure = Failure::of(&*error);
            failure.tell(json);
            failure.exit_code()
        }
    }
}

async fn execute(arguments: Arguments) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let Arguments { socket, json, command } = arguments;
    let client = ControlClient::new(&socket)?;
    match command {
        Command::Status(arguments) => return look::status(&client, json, arguments).await,
        Command::Connections(only) => look::connections(&client, json, only).await?,
        Command::Routes => {
            let routes: Vec<Route> = client.call(&Request::Routes).await?;
            print(json, &routes, |routes| tables::routes(routes))?;
        }
        Command::Up { connection, waiting } => {
            act(&client, json, Task { connection, action: Action::Up, which: Rekeyed::All }, waiting).await?;
        }
        Command::Down { connection, waiting } => {
            act(&client, json, Task { connection, action: Action::Down, which: Rekeyed::All }, waiting).await?;
        }
        Command::Rekey { connection, child, ike, waiting } => {
            let which = child.map_or(if ike { Rekeyed::Ike } else { Rekeyed::All }, Rekeyed::Child);
            act(&client, json, Task { connection, action: Action::Rekey, which }, waiting).await?;
        }
        Command::Reload => {
            let reloaded: Reloaded = client.call(&Request::Reload).await?;
            print(json, &reloaded, status::reloaded)?;
        }
        Command::Release { force } => {
            let released = release::release(force).await?;
            print(json, &released, release::shown)?;
            return Ok(release::exit_code(&released));
        }
        Command::Events(arguments) => events::follow(&client, json, arguments).await?,
        Command::Check { file, host } => return Ok(check::run(file.as_deref(), host, json)?),
        Command::Export { connection, product, psk_file } => {
            let request = Request::Export { name: connection };
            let exported: ConnectionExport = client.call(&request).await?;
            export::print(json, &exported, product, psk_file.as_deref())?;
        }
        Command::Schema => output::json(&schema::schema())?,
        Command::Cloud(cloud) => return cloud.run(json).await,
        Command::Completion { shell } => completion::print(shell)?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn act(
    client: &ControlClient,
    json: bool,
    task: Task,
    waiting: Waiting,
) -> Result<(), Box<dyn std::error::Error>> {
    let outcome = task.run(client, waiting).await?;
    print(json, &outcome, |Outcome { connection, action, done }| match (done, action) {
        (false, action) => format!("{connection}: {} is under way", action.name()),
        (true, Action::Up) => format!("{connection} is up"),
        (true, Action::Down) => format!("{connection} is down"),
        (true, Action::Rekey) => format!("{connection} is rekeyed"),
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
        completion::with_cloud(Arguments::command()).debug_assert();
    }

    #[test]
    fn options_may_stand_anywhere() {
        let arguments = Arguments::parse_from(["gatewayctl", "status", "--socket", "/x", "--json"]);
        assert!(arguments.json && arguments.socket.as_os_str() == "/x");
        assert!(Arguments::try_parse_from(["gatewayctl", "check"]).is_err());
    }
}
