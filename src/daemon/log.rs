//! gatewayd's log: one line for what an operator did or should know, on standard error.

use std::fmt::{self, Write};
use std::io::IsTerminal;

use tracing::field::Field;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::fmt::format::{Writer, debug_fn};

use super::foreign_text::Fitting;

/// The level of a log without a configuration.
pub const DEFAULT: &str = "info";

/// Starts the log at the level of the configuration, or as the environment variable GATEWAYD_LOG says
/// (`debug`, or `info,ipsec_gateway::ike=trace`).
pub fn start(level: &str) {
    let filter = EnvFilter::try_from_env("GATEWAYD_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .fmt_fields(debug_fn(write_field).delimited(" "));
    // The journal writes the time itself.
    let started =
        if std::env::var_os("JOURNAL_STREAM").is_some() { log.without_time().try_init() } else { log.try_init() };
    if started.is_err() {
        eprintln!("gatewayd: a log runs already");
    }
}

/// Writes the message, or a value by its name. Whatever is in it stays on the line; a value is cut, for it may be a peer's.
fn write_field(writer: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    if field.name() == "message" {
        return write!(Fitting::uncut(writer), "{value:?}");
    }
    write!(writer, "{}=", field.name())?;
    write!(Fitting::new(writer), "{value:?}")
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_is_logged_stays_on_its_line_and_is_not_long() {
        let lines = Lines::default();
        let to = lines.clone();
        let log = tracing_subscriber::fmt()
            .with_writer(move || to.clone())
            .without_time()
            .with_ansi(false)
            .with_target(false)
            .fmt_fields(debug_fn(write_field).delimited(" "))
            .finish();
        tracing::subscriber::with_default(log, || {
            let identity = format!("a\nWARN forged {}", "x".repeat(30_000));
            tracing::warn!(peer_id = %identity, reason = "plain", number = 7, "child\x1b[31m up");
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        assert!(text.len() < 400 && text.ends_with("… reason=\"plain\" number=7\n"), "{text}");
        assert!(text.contains("WARN child\\u{1b}[31m up peer_id=a\\nWARN forged xxx"), "{text}");
        assert_eq!(text.lines().count(), 1);
    }
}
