//! `status` and `connections`: once or again and again, of all or of some.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use clap::builder::PossibleValuesParser;
use serde::Serialize;

use super::failure::{Failure, FailureKind};
use super::output::{self, OutputError, Reader};
use super::summary::Summary;
use super::table::terminal_width;
use super::{status, tables};
use crate::control::request::Request;
use crate::control::status::{Connection, Status};
use crate::io::unix::{CallError, ControlClient};

/// Exit code of `status --check` when something that should be up is not.
const NOT_UP: u8 = 3;

/// What `status` shows, and how.
#[derive(Debug, Args)]
pub struct StatusArguments {
    /// Only this connection
    connection: Option<String>,
    /// Only how many are up, and which are not that should be
    #[arg(long)]
    summary: bool,
    /// As --summary, with exit code 3 if anything is not up that should be: a connection that does not just wait for traffic
    /// or for its peer, or a route of one that is up; or if no connection is selected
    #[arg(long, conflicts_with = "state")]
    check: bool,
    /// Show it again every 2 seconds, or so many as --watch=SECONDS says
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true, default_missing_value = "2",
          conflicts_with = "check", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    watch: Option<u64>,
    #[command(flatten)]
    only: Filter,
}

/// Which connections are meant.
#[derive(Clone, Debug, Args)]
pub struct Filter {
    /// Only connections in this state; may be repeated
    #[arg(long, value_parser = PossibleValuesParser::new(["established", "connecting", "waiting", "down"]))]
    state: Vec<String>,
    /// Only connections of gatewayd.toml, or of the cloud
    #[arg(long, value_parser = PossibleValuesParser::new(["file", "cend"]))]
    owner: Option<String>,
    /// Only connections with this in their name
    #[arg(long, value_name = "PART")]
    named: Option<String>,
}

impl Filter {
    fn takes(&self, connection: &Connection) -> bool {
        let Self { state, owner, named } = self;
        (state.is_empty() || state.iter().any(|state| state == connection.state.name()))
            && owner.as_ref().is_none_or(|owner| owner == connection.owner.name())
            && named.as_ref().is_none_or(|part| connection.name.contains(part))
    }

    fn takes_all(&self) -> bool {
        let Self { state, owner, named } = self;
        state.is_empty() && owner.is_none() && named.is_none()
    }

    /// Leaves the connections that are meant, with their routes.
    fn narrow(&self, status: &mut Status) {
        if self.takes_all() {
            return;
        }
        status.connections.retain(|connection| self.takes(connection));
        let of_shown = |connection: &str| status.connections.iter().any(|shown| shown.name == connection);
        status.routes.retain(|route| of_shown(&route.connection));
    }
}

/// Shows the status.
pub async fn status(
    client: &ControlClient,
    json: bool,
    arguments: StatusArguments,
) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let StatusArguments { connection, summary, check, watch, only } = arguments;
    let one = connection.is_some();
    let request = connection.map_or(Request::Status, |name| Request::StatusOf { name });
    let look = async || -> Result<Status, CallError> {
        let mut status: Status = client.call(&request).await?;
        only.narrow(&mut status);
        Ok(status)
    };
    let Some(seconds) = watch else {
        let shown = look().await?;
        // What is good of none may be a name that is misspelt.
        if check && shown.connections.is_empty() && !only.takes_all() {
            Failure { error: "no connection is selected".to_owned(), kind: FailureKind::Other }.tell(json);
            return Ok(ExitCode::from(NOT_UP));
        }
        let counted = Summary::of(&shown);
        if summary || check {
            print(json, &counted, |counted| counted.text(terminal_width()))?;
        } else {
            print(json, &shown, |shown| status::status(shown, one, terminal_width()))?;
        }
        return Ok(if check && !counted.not_up.is_empty() { ExitCode::from(NOT_UP) } else { ExitCode::SUCCESS });
    };
    loop {
        let text = match look().await {
            Ok(shown) if json && summary => format!("{}\n", serde_json::to_string(&Summary::of(&shown))?),
            Ok(shown) if json => format!("{}\n", serde_json::to_string(&shown)?),
            Ok(shown) if summary => page(&Summary::of(&shown).text(terminal_width())),
            Ok(shown) => page(&status::status(&shown, one, terminal_width())),
            // It may come back.
            Err(error @ CallError::Unreachable { .. }) if !json => page(&error.to_string()),
            Err(error) => return Err(error.into()),
        };
        if output::next(&text)? == Reader::Gone {
            return Ok(ExitCode::SUCCESS);
        }
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }
}

/// A text that takes the place of the one before on a terminal, and stands below it elsewhere.
fn page(text: &str) -> String {
    // Home, and clear what is below (ECMA-48: CUP, ED).
    let clear = if std::io::stdout().is_terminal() { "\x1b[H\x1b[J" } else { "" };
    format!("{clear}{text}\n")
}

/// Shows one line for each connection.
pub async fn connections(client: &ControlClient, json: bool, only: Filter) -> Result<(), Box<dyn std::error::Error>> {
    let mut connections: Vec<Connection> = client.call(&Request::Connections).await?;
    connections.retain(|connection| only.takes(connection));
    print(json, &connections, |connections| tables::connections(connections))?;
    Ok(())
}

/// Prints a value as JSON, or as text.
pub fn print<T: Serialize>(json: bool, value: &T, text: impl FnOnce(&T) -> String) -> Result<(), OutputError> {
    if json { output::json(value) } else { output::line(&text(value)) }
}
