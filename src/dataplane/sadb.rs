//! The SAs of a loop, which is their only owner.

use super::facts::SaFacts;
use super::fib::ConnectionId;
use super::outer_header::{DfPolicy, Encapsulation, OuterPath};
use super::parameters::{InboundSaParameters, OutboundSaParameters, Tunnel};
use super::policy::SelectorPair;
use crate::crypto::WrongKeyLength;
use crate::esp::{InboundSa, OutboundSa, Standing};
use crate::wire::ip::Flow;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

/// An outbound SA and what its packets need besides.
pub struct OutboundEntry {
    /// The SA.
    pub sa: OutboundSa,
    /// The outer DF bit.
    pub df: DfPolicy,
    /// Outer addresses and form.
    pub tunnel: Tunnel,
    /// The largest inner packet that needs no outer fragmentation.
    pub inner_mtu: usize,
    inbound_spi: u32,
    connection: ConnectionId,
    child: u32,
    active: bool,
    /// The SA that it takes over from.
    replaces: Option<u32>,
    selectors: Arc<SelectorPair>,
    report: Report,
}

/// The outbound SAs.
#[derive(Default)]
pub struct OutboundSadb {
    entries: Vec<OutboundEntry>,
    /// For each connection the places of its active SAs: lower child first, then the newest.
    active: HashMap<ConnectionId, Vec<usize>>,
    /// Places of the SAs whose facts are due.
    touched: Vec<usize>,
}

impl OutboundSadb {
    /// Adds an SA, in the place of one with the same inbound SPI if there is one.
    ///
    /// # Errors
    /// When a key does not fit the suite; nothing changes.
    pub fn install(&mut self, parameters: OutboundSaParameters) -> Result<(), WrongKeyLength> {
        let OutboundSaParameters {
            inbound_spi,
            spi,
            connection,
            child,
            suite,
            keys,
            iv_source,
            extended_sequence,
            selectors,
            tunnel,
            df,
            limits,
            active,
            replaces,
            facts,
        } = parameters;
        let (encryption, integrity) = (keys.encryption.as_bytes(), keys.integrity.as_bytes());
        let sa = OutboundSa::new(spi, suite, encryption, integrity, iv_source, extended_sequence, limits)?;
        self.remove(inbound_spi);
        if active && let Some(old) = replaces {
            self.deactivate(old);
        }
        let inner_mtu = tunnel.inner_mtu(sa.overhead());
        let report = Report { facts, due: false, alarmed: false };
        self.entries.push(OutboundEntry {
            sa,
            df,
            tunnel,
            inner_mtu,
            inbound_spi,
            connection,
            child,
            active,
            replaces,
            selectors,
            report,
        });
        self.index();
        Ok(())
    }

    /// Starts to send on an SA and stops on the one that it replaces.
    pub fn activate(&mut self, inbound_spi: u32) {
        let Some(chosen) = self.entries.iter_mut().find(|entry| entry.inbound_spi == inbound_spi) else { return };
        chosen.active = true;
        if let Some(old) = chosen.replaces {
            self.deactivate(old);
        }
        self.index();
    }

    fn deactivate(&mut self, inbound_spi: u32) {
        self.entries.iter_mut().filter(|entry| entry.inbound_spi == inbound_spi).for_each(|entry| entry.active = false);
    }

    /// Removes an SA and its keys.
    pub fn remove(&mut self, inbound_spi: u32) {
        self.entries.retain(|entry| entry.inbound_spi != inbound_spi);
        self.index();
    }

    /// Sends an SA's packets elsewhere or in another form.
    pub fn set_path(&mut self, inbound_spi: u32, path: OuterPath, encapsulation: Encapsulation) {
        for entry in self.entries.iter_mut().filter(|entry| entry.inbound_spi == inbound_spi) {
            entry.tunnel = Tunnel { path, encapsulation, ..entry.tunnel };
            entry.inner_mtu = entry.tunnel.inner_mtu(entry.sa.overhead());
        }
    }

    fn index(&mut self) {
        self.active.values_mut().for_each(Vec::clear);
        for (place, entry) in self.entries.iter().enumerate().filter(|(_, entry)| entry.active) {
            self.active.entry(entry.connection).or_default().push(place);
        }
        self.active.retain(|_, places| !places.is_empty());
        for places in self.active.values_mut() {
            places.sort_by_key(|place| (self.entries[*place].child, std::cmp::Reverse(*place)));
        }
        collect_touched(&mut self.touched, self.entries.iter().map(|entry| &entry.report));
    }

    /// Whether a connection has an SA to send on.
    pub fn is_up(&self, connection: ConnectionId) -> bool {
        self.active.contains_key(&connection)
    }

    /// The place of the SA of a connection whose selectors cover a flow.
    pub fn select(&self, connection: ConnectionId, flow: &Flow) -> Option<usize> {
        let places = self.active.get(&connection)?;
        places.iter().copied().find(|place| self.entries[*place].selectors.covers_outbound(flow))
    }

    /// The SA at a place that [`select`](Self::select) found since the last change.
    pub fn entry(&mut self, place: usize) -> &mut OutboundEntry {
        &mut self.entries[place]
    }

    /// Notes that an SA was used, or refused to be.
    pub fn touch(&mut self, place: usize) {
        if !std::mem::replace(&mut self.entries[place].report.due, true) {
            self.touched.push(place);
        }
    }

    /// Writes the facts of the SAs that were used since the last time. Says whether one deserves a wake-up.
    pub fn publish(&mut self, now: Instant) -> bool {
        let mut wake = false;
        for place in self.touched.drain(..) {
            let entry = &mut self.entries[place];
            let sa = &entry.sa;
            wake |= entry.report.publish(sa.packets(), sa.bytes(), sa.sequence(), sa.standing(), now);
        }
        wake
    }
}

/// An inbound SA and what its packets need besides.
pub struct InboundEntry {
    /// The SA.
    pub sa: InboundSa,
    /// What its packets may be.
    pub selectors: Arc<SelectorPair>,
    /// The largest inner packet of the other direction.
    pub inner_mtu: usize,
    spi: u32,
    tunnel: Tunnel,
    source: Option<SocketAddr>,
    new_source: Option<SocketAddr>,
    report: Report,
}

/// The inbound SAs.
#[derive(Default)]
pub struct InboundSadb {
    entries: Vec<InboundEntry>,
    places: HashMap<u32, usize>,
    /// The SPI looked up last, and its place: packets come in bursts.
    last: Option<(u32, usize)>,
    /// Places of the SAs whose facts are due.
    touched: Vec<usize>,
}

impl InboundSadb {
    /// Adds an SA, in the place of one with the same SPI if there is one.
    ///
    /// # Errors
    /// When a key does not fit the suite; nothing changes.
    pub fn install(&mut self, parameters: InboundSaParameters) -> Result<(), WrongKeyLength> {
        let InboundSaParameters {
            spi,
            connection: _,
            suite,
            keys,
            extended_sequence,
            replay_window,
            selectors,
            tunnel,
            limits,
            facts,
        } = parameters;
        let (encryption, integrity) = (keys.encryption.as_bytes(), keys.integrity.as_bytes());
        let sa = InboundSa::new(spi, suite, encryption, integrity, extended_sequence, replay_window, limits)?;
        self.remove(spi);
        let inner_mtu = tunnel.inner_mtu(sa.overhead());
        let report = Report { facts, due: false, alarmed: false };
        self.entries.push(InboundEntry {
            sa,
            selectors,
            inner_mtu,
            spi,
            tunnel,
            source: None,
            new_source: None,
            report,
        });
        self.index();
        Ok(())
    }

    /// Removes an SA and its keys.
    pub fn remove(&mut self, spi: u32) {
        self.entries.retain(|entry| entry.spi != spi);
        self.index();
    }

    /// The other direction goes elsewhere or in another form.
    pub fn set_path(&mut self, spi: u32, path: OuterPath, encapsulation: Encapsulation) {
        for entry in self.entries.iter_mut().filter(|entry| entry.spi == spi) {
            entry.tunnel = Tunnel { path, encapsulation, ..entry.tunnel };
            entry.inner_mtu = entry.tunnel.inner_mtu(entry.sa.overhead());
        }
    }

    fn index(&mut self) {
        self.places = self.entries.iter().enumerate().map(|(place, entry)| (entry.spi, place)).collect();
        self.last = None;
        collect_touched(&mut self.touched, self.entries.iter().map(|entry| &entry.report));
    }

    /// The place of the SA of an SPI, which holds until the next change.
    pub fn find(&mut self, spi: u32) -> Option<usize> {
        let place = match self.last {
            Some((last, place)) if last == spi => place,
            _ => *self.places.get(&spi)?,
        };
        self.last = Some((spi, place));
        Some(place)
    }

    /// The SA at a place that [`find`](Self::find) found since the last change.
    pub fn entry(&mut self, place: usize) -> &mut InboundEntry {
        &mut self.entries[place]
    }

    /// Notes an authentic packet. `newest` says that its sequence number was the highest yet: only then does its source
    /// count, so that a replayed or delayed packet cannot move the peer (RFC 7296 section 2.23).
    pub fn touch(&mut self, place: usize, newest: bool, source: SocketAddr) {
        let entry = &mut self.entries[place];
        if newest {
            entry.new_source = Some(source);
        }
        if !std::mem::replace(&mut entry.report.due, true) {
            self.touched.push(place);
        }
    }

    /// Writes the facts of the SAs that were used since the last time. Says whether one deserves a wake-up.
    pub fn publish(&mut self, now: Instant) -> bool {
        let mut wake = false;
        for place in self.touched.drain(..) {
            let entry = &mut self.entries[place];
            if let Some(source) = entry.new_source.take().filter(|source| entry.source != Some(*source)) {
                wake |= entry.source.is_some();
                entry.source = Some(source);
                entry.report.facts.record_source(source);
            }
            let sa = &entry.sa;
            wake |= entry.report.publish(sa.packets(), sa.bytes(), sa.highest_sequence(), sa.standing(), now);
        }
        wake
    }
}

/// Rebuilds a list of places after the places changed, with room for all, so that a packet never makes it grow.
fn collect_touched<'a>(touched: &mut Vec<usize>, reports: impl ExactSizeIterator<Item = &'a Report>) {
    touched.clear();
    touched.reserve(reports.len());
    touched.extend(reports.enumerate().filter(|(_, report)| report.due).map(|(place, _)| place));
}

/// When to write an SA's facts.
struct Report {
    facts: Arc<SaFacts>,
    due: bool,
    /// A passed limit was told already.
    alarmed: bool,
}

impl Report {
    fn publish(&mut self, packets: u64, bytes: u64, sequence: u64, standing: Standing, now: Instant) -> bool {
        if !std::mem::take(&mut self.due) {
            return false;
        }
        let first = self.facts.record(packets, bytes, sequence, now);
        let mut wake = first;
        if standing >= Standing::RekeyDue && !self.alarmed {
            self.alarmed = true;
            self.facts.record_soft_limit();
            wake = true;
        }
        if standing == Standing::Exhausted {
            self.facts.record_exhausted();
        }
        wake
    }
}
