//! gatewayctl: what a person asks of gatewayd, of a configuration file, of the machine, and of the simulated cloud.

mod check;
mod cloud;
mod export;
mod output;
mod quantity;
mod release;
mod status;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use futures_util::StreamExt;
use serde::Serialize;

use self::output::OutputError;
use crate::control::action::{Accepted, Action};
use crate::control::export::ConnectionExport;
use crate::control::reload::Reloaded;
use crate::control::request::Request;
use crate::control::route::Route;
use crate::control::status::{Connection, Status};
use crate::io::terminal::complain;
use crate::io::unix::ControlClient;

/// Asks gatewayd and the simulated cloud.
#[derive(Debug, Parser)]
#[command(name = "gatewayctl", version, max_term_width = 100)]
pub struct Arguments {
    /// gatewayd's control socket
    #[arg(long, global = true, env = "GATEWAYD_SOCKET", default_value = "/run/gatewayd/control.sock")]
    socket: PathBuf,
    /// Print JSON instead of text
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Everything: connections with their SAs, routes, dropped packets
    Status {
        /// Only this connection
        connection: Option<String>,
    },
    /// One line for each connection
    Connections,
    /// The VPN gateway's route table
    Routes,
    /// Negotiate a connection now
    Up { connection: String },
    /// Delete a connection's SAs and leave it down
    Down { connection: String },
    /// Replace a connection's keys without interrupting its traffic
    Rekey { connection: String },
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
    Events {
        /// Only what happens to this connection, or to all
        connection: Option<String>,
    },
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
        connection: String,
        /// What runs at the peer
        #[arg(long = "for", value_enum)]
        product: export::Product,
        /// Put the pre-shared key of this file (mode 0600) in; gatewayd never gives a key away, so without it a
        /// placeholder is printed
        #[arg(long, value_name = "FILE")]
        psk_file: Option<PathBuf>,
    },
    /// Call an action of the simulated cloud: cloud PRODUCT ACTION --Parameter VALUE ...
    Cloud(cloud::CloudArguments),
}

/// Runs one command; what goes wrong is told on standard error.
pub async fn run(arguments: Arguments) -> ExitCode {
    match execute(arguments).await {
        Ok(code) => code,
        Err(error) if matches!(error.downcast_ref(), Some(OutputError::ReaderGone)) => ExitCode::SUCCESS,
        Err(error) => {
            complain(format_args!("gatewayctl: {error}"));
            ExitCode::FAILURE
        }
    }
}

async fn execute(arguments: Arguments) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let Arguments { socket, json, command } = arguments;
    let client = ControlClient::new(&socket)?;
    match command {
        Command::Status { connection } => {
            let one = connection.is_some();
            let request = connection.map_or(Request::Status, |name| Request::StatusOf { name });
            let shown: Status = client.call(&request).await?;
            print(json, &shown, |status| status::status(status, one))?;
        }
        Command::Connections => {
            let connections: Vec<Connection> = client.call(&Request::Connections).await?;
            print(json, &connections, |connections| status::connections(connections))?;
        }
        Command::Routes => {
            let routes: Vec<Route> = client.call(&Request::Routes).await?;
            print(json, &routes, |routes| status::routes(routes))?;
        }
        Command::Up { connection } => act(&client, json, connection, Action::Up).await?,
        Command::Down { connection } => act(&client, json, connection, Action::Down).await?,
        Command::Rekey { connection } => act(&client, json, connection, Action::Rekey).await?,
        Command::Reload => {
            let reloaded: Reloaded = client.call(&Request::Reload).await?;
            print(json, &reloaded, status::reloaded)?;
        }
        Command::Release { force } => {
            let released = release::release(force).await?;
            print(json, &released, release::shown)?;
            return Ok(release::exit_code(&released));
        }
        Command::Events { connection } => follow(&client, connection).await?,
        Command::Check { file, host } => return Ok(check::run(file.as_deref(), host, json)?),
        Command::Export { connection, product, psk_file } => {
            let request = Request::Export { name: connection };
            let exported: ConnectionExport = client.call(&request).await?;
            output::print(&export::configuration(&exported, product, psk_file.as_deref())?)?;
        }
        Command::Cloud(cloud) => return cloud.run().await,
    }
    Ok(ExitCode::SUCCESS)
}

fn print<T: Serialize>(json: bool, value: &T, text: impl FnOnce(&T) -> String) -> Result<(), OutputError> {
    if json { output::json(value) } else { output::line(&text(value)) }
}

async fn act(
    client: &ControlClient,
    json: bool,
    name: String,
    action: Action,
) -> Result<(), Box<dyn std::error::Error>> {
    let accepted: Accepted = client.call(&Request::Connection { name, action }).await?;
    print(json, &accepted, |accepted| format!("{}: {} is under way", accepted.connection, accepted.action.name()))?;
    Ok(())
}

async fn follow(client: &ControlClient, connection: Option<String>) -> Result<(), Box<dyn std::error::Error>> {
    let events = match connection {
        Some(name) => client.events_of(name).await?.boxed(),
        None => client.events().await?.boxed(),
    };
    let mut events = std::pin::pin!(events);
    while let Some(event) = events.next().await {
        output::line(&serde_json::to_string(&event)?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn options_may_stand_anywhere() {
        let arguments = Arguments::parse_from(["gatewayctl", "status", "--socket", "/x", "--json"]);
        assert!(arguments.json && arguments.socket.as_os_str() == "/x");
        assert!(Arguments::try_parse_from(["gatewayctl", "check"]).is_err());
    }
}
