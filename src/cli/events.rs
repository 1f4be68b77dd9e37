//! `gatewayctl events`: what happens, and what has happened.

use std::fmt::Write;

use clap::Args;
use futures_util::StreamExt;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, civil};

use super::output::{self, Reader};
use crate::control::event::{Event, EventKind};
use crate::io::clock;
use crate::io::unix::ControlClient;

/// Whose events, and from when on.
#[derive(Debug, Args)]
pub struct EventsArguments {
    /// Only what happens to this connection, or to all
    connection: Option<String>,
    /// Begin with what has happened since: 10m or 1h30m ago, or a time as 2026-11-27T22:00:00Z or 2026-11-27T22:00:00 (local).
    /// gatewayd remembers its last 1024 events
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    since: Option<Timestamp>,
    /// End behind what has happened, instead of waiting for more
    #[arg(long, requires = "since")]
    no_follow: bool,
}

/// A time: in the past by so much, or as a date.
fn moment(text: &str) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    if let Ok(ago) = text.parse::<SignedDuration>() {
        return clock::time_of_day().checked_sub(ago.abs()).map_err(|error| error.to_string());
    }
    let local = text.parse::<civil::DateTime>().ok().and_then(|time| TimeZone::system().to_timestamp(time).ok());
    local.ok_or_else(|| "allowed: 10m, 1h30m, 2026-11-27T22:00:00Z, 2026-11-27T22:00:00".to_owned())
}

/// Prints one event a line, until gatewayd or the reader goes.
pub async fn follow(
    client: &ControlClient,
    json: bool,
    arguments: EventsArguments,
) -> Result<(), Box<dyn std::error::Error>> {
    let EventsArguments { connection, since, no_follow } = arguments;
    let mut events = std::pin::pin!(client.events_of(connection, since).await?);
    while let Some(event) = events.next().await {
        let is_now = event.kind == EventKind::Started;
        if is_now && no_follow {
            return Ok(());
        }
        let text = match json {
            true => serde_json::to_string(&event)?,
            false if is_now => continue,
            false => line(&event, &TimeZone::system()),
        };
        if output::next_line(&text)? == Reader::Gone {
            return Ok(());
        }
    }
    Err("gatewayd has gone".into())
}

/// When, what, to whom, and why.
fn line(event: &Event, zone: &TimeZone) -> String {
    let Event { sequence: _, time, kind, connection, association: _, peer_id, child, reason } = event;
    let time = time.to_zoned(zone.clone());
    let mut text = format!("{} {:<15}", time.strftime("%Y-%m-%d %H:%M:%S%.3f"), kind.name());
    for (what, who) in [("", connection), ("child ", child), ("with ", peer_id)] {
        if let Some(who) = who {
            let _ = write!(text, " {what}{who}");
        }
    }
    if let Some(reason) = reason {
        let _ = write!(text, ": {reason}");
    }
    text.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_some_time_ago_or_a_date() {
        let ago = |text: &str| clock::time_of_day().duration_since(moment(text).unwrap()).as_secs();
        assert!((600..605).contains(&ago("10m")) && (5400..5405).contains(&ago("1h30m")));
        assert_eq!(moment("2026-11-27T22:00:00Z").unwrap().as_second(), 1_795_816_800);
        assert!(moment("2026-11-27T22:00:00").is_ok());
        assert!(moment("yesterday").unwrap_err().contains("allowed: 10m"));
    }

    #[test]
    fn a_line_says_when_what_to_whom_and_why() {
        let event = Event {
            connection: Some("idc".into()),
            child: Some("net".into()),
            peer_id: Some("gw.example".into()),
            reason: Some("no answer".into()),
            ..Event::new(7, "2026-11-27T22:00:00.125Z".parse().unwrap(), EventKind::ChildDown)
        };
        let expected = "2026-11-27 22:00:00.125 child-down      idc child net with gw.example: no answer";
        assert_eq!(line(&event, &TimeZone::UTC), expected);
        let bare = Event::new(8, Timestamp::UNIX_EPOCH, EventKind::Reloaded);
        assert_eq!(line(&bare, &TimeZone::UTC), "1970-01-01 00:00:00.000 reloaded");
    }
}
