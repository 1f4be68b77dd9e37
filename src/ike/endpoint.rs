//! The endpoint: every IKE SA, found by its SPI, and every connection.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use super::config::Config;
use super::error::{Discard, DiscardCounters};
use super::event::{Command, Output, Path};
use super::status::ConnectionStatus;
use crate::crypto::Entropy;

/// An IKEv2 endpoint with all its connections.
pub struct Endpoint {
    config: Arc<Config>,
    entropy: Box<dyn Entropy>,
    discards: DiscardCounters,
    queue: VecDeque<Output>,
}

impl Endpoint {
    /// Takes its configuration; connections that start at once do so in the first `handle_timeout`.
    pub fn new(config: Arc<Config>, entropy: Box<dyn Entropy>, now: Instant) -> Self {
        let _ = now;
        Self { config, entropy, discards: DiscardCounters::default(), queue: VecDeque::new() }
    }

    /// Takes a datagram that arrived on `path`, its non-ESP marker stripped.
    ///
    /// # Errors
    /// The reason why it was dropped, which is counted too; nothing has changed then.
    pub fn handle_datagram(&mut self, datagram: &[u8], path: Path, now: Instant) -> Result<(), Discard> {
        let _ = (datagram, path, now);
        self.discards.count(Discard::Malformed);
        Err(Discard::Malformed)
    }

    /// Takes a command.
    pub fn handle_command(&mut self, command: Command, now: Instant) {
        let _ = now;
        if let Command::Reload(config) = command {
            self.config = config;
        }
    }

    /// Lets time pass. An early call does nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        let _ = (now, &mut self.entropy);
    }

    /// Yields the next consequence. Call until it is [`Output::Timeout`], before any other call.
    pub fn poll_output(&mut self) -> Output {
        self.queue.pop_front().unwrap_or(Output::Timeout(None))
    }

    /// Every configured connection, in the order of the configuration.
    pub fn status(&self) -> Vec<ConnectionStatus> {
        Vec::new()
    }

    /// Datagrams dropped, by reason.
    pub fn discards(&self) -> &DiscardCounters {
        &self.discards
    }
}
