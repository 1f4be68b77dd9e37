//! The SAs of a loop, which is their only owner.

use super::facts::{InstallError, SaFacts};
use super::fib::ConnectionId;
use super::outer_header::{DfPolicy, Encapsulation, OuterPath};
use super::parameters::{InboundSaParameters, OutboundSaParameters, Tunnel};
use super::policy::SelectorPair;
use super::selection::{Precedence, Selection};
use super::slab::Slab;
use super::spi_map::SpiMap;
use crate::esp::{InboundSa, OutboundSa, Standing};
use crate::wire::ip::Flow;
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
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
    /// The largest inner packet that every path takes.
    least_inner_mtu: usize,
    connection: ConnectionId,
    precedence: Precedence,
    /// What it carries.
    pub selectors: Arc<SelectorPair>,
    report: Report,
}

/// Places of SAs by the address of their peer: of one peer's many SAs each is found, of other peers' none is looked at.
#[derive(Default)]
struct ByPeer(BTreeSet<(IpAddr, usize)>);

impl ByPeer {
    fn insert(&mut self, path: OuterPath, place: usize) {
        self.0.insert((path.peer.ip(), place));
    }

    fn remove(&mut self, path: OuterPath, place: usize) {
        self.0.remove(&(path.peer.ip(), place));
    }

    fn places(&self, peer: IpAddr) -> impl Iterator<Item = usize> {
        self.0.range((peer, 0)..=(peer, usize::MAX)).map(|(_, place)| *place)
    }
}

/// The outbound SAs; each one that is here may be used. Every change costs the same however many there are, and an SA that
/// carries nothing costs no time.
#[derive(Default)]
pub struct OutboundSadb {
    entries: Slab<OutboundEntry>,
    /// By inbound SPI.
    places: SpiMap,
    by_peer: ByPeer,
    /// By the number of the connection.
    of_connection: Vec<Selection>,
    installed: u64,
    /// Places of the SAs whose facts are due; room for all, so that a packet never makes it grow.
    touched: Vec<usize>,
    /// An SA came or went since [`took_keys`](Self::took_keys) was asked.
    took_keys: bool,
}

impl OutboundSadb {
    /// Adds an SA.
    ///
    /// # Errors
    /// When a key does not fit the suite, or an SA with this inbound SPI is there; nothing changes.
    pub fn install(&mut self, parameters: OutboundSaParameters) -> Result<(), InstallError> {
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
            facts,
        } = parameters;
        self.took_keys = true;
        if self.places.contains_key(&inbound_spi) {
            return Err(InstallError::SpiInUse);
        }
        let (encryption, integrity) = (keys.encryption.as_bytes(), keys.integrity.as_bytes());
        let sa = OutboundSa::new(spi, suite, encryption, integrity, iv_source, extended_sequence, limits)?;
        let (inner_mtu, least_inner_mtu) = (tunnel.inner_mtu(sa.overhead()), tunnel.least_inner_mtu(sa.overhead()));
        let report = Report::new(facts);
        let precedence = Precedence::new(child, self.installed);
        self.installed += 1;
        let listed = Arc::clone(&selectors);
        let entry =
            OutboundEntry { sa, df, tunnel, inner_mtu, least_inner_mtu, connection, precedence, selectors, report };
        let place = self.entries.insert(entry);
        self.by_peer.insert(tunnel.path, place);
        self.places.insert(inbound_spi, place);
        let number = connection.0 as usize;
        if self.of_connection.len() <= number {
            self.of_connection.resize_with(number + 1, Selection::default);
        }
        self.of_connection[number].insert(precedence, place, &listed);
        reserve_all(&mut self.touched, self.entries.len());
        Ok(())
    }

    /// Whether an SA came or went since the last call: then keys have passed over the stack of the thread.
    pub fn took_keys(&mut self) -> bool {
        std::mem::take(&mut self.took_keys)
    }

    /// Removes an SA and its keys.
    pub fn remove(&mut self, inbound_spi: u32) {
        self.took_keys = true;
        let Some(place) = self.places.remove(&inbound_spi) else { return };
        self.touched.retain(|touched| *touched != place);
        let Some(entry) = self.entries.remove(place) else { return };
        self.by_peer.remove(entry.tunnel.path, place);
        if let Some(selection) = self.of_connection.get_mut(entry.connection.0 as usize) {
            selection.remove(entry.precedence, &entry.selectors);
        }
    }

    /// Sends an SA's packets elsewhere or in another form.
    pub fn set_path(&mut self, inbound_spi: u32, path: OuterPath, encapsulation: Encapsulation) {
        let Some((place, entry)) = self.by_spi(inbound_spi) else { return };
        let before = entry.tunnel;
        entry.tunnel = Tunnel { path, encapsulation, ..before };
        entry.inner_mtu = entry.tunnel.inner_mtu(entry.sa.overhead());
        entry.least_inner_mtu = entry.tunnel.least_inner_mtu(entry.sa.overhead());
        self.by_peer.remove(before.path, place);
        self.by_peer.insert(path, place);
    }

    /// The path of an SA answers, or does not: then every other SA of its connection comes first.
    pub fn set_silent(&mut self, inbound_spi: u32, silent: bool) {
        let Some((place, entry)) = self.by_spi(inbound_spi) else { return };
        let (before, after) = (entry.precedence, entry.precedence.with_silence(silent));
        entry.precedence = after;
        let (connection, selectors) = (entry.connection, Arc::clone(&entry.selectors));
        if let Some(selection) = self.of_connection.get_mut(connection.0 as usize) {
            selection.remove(before, &selectors);
            selection.insert(after, place, &selectors);
        }
    }

    /// The path to a peer takes outer packets of this size. Looks at the SAs with this peer.
    pub fn set_path_mtu(&mut self, peer: IpAddr, mtu: u16) {
        for place in self.by_peer.places(peer) {
            let Some(entry) = self.entries.get_mut(place) else { continue };
            entry.tunnel.outer_mtu = mtu;
            entry.inner_mtu = entry.tunnel.inner_mtu(entry.sa.overhead());
        }
    }

    fn by_spi(&mut self, inbound_spi: u32) -> Option<(usize, &mut OutboundEntry)> {
        let place = *self.places.get(&inbound_spi)?;
        Some((place, self.entries.get_mut(place)?))
    }

    /// Whether a connection has an SA to send on.
    pub fn is_up(&self, connection: ConnectionId) -> bool {
        self.of_connection.get(connection.0 as usize).is_some_and(|selection| !selection.is_empty())
    }

    /// The place of the SA of a connection whose selectors cover a flow: of several, one whose path answers before others; of
    /// these that of the lowest child; of one child that whose peer selector is the narrowest; of these the newest. It holds until the SA is removed. The cost does not grow with the number of SAs, as long as they
    /// differ in the peer's addresses.
    pub fn select(&self, connection: ConnectionId, flow: &Flow) -> Option<usize> {
        self.of_connection.get(connection.0 as usize)?.select(flow)
    }

    /// The SA at a place that [`select`](Self::select) found since the last change.
    ///
    /// # Panics
    /// When there is none, a mistake of the caller.
    pub fn entry(&mut self, place: usize) -> &mut OutboundEntry {
        self.entries.get_mut(place).expect("the SA was found since the last change")
    }

    /// Notes that an SA was used, or refused to be, for packets of which none was larger than this.
    pub fn touch(&mut self, place: usize, largest: usize) {
        let Some(entry) = self.entries.get_mut(place) else { return };
        entry.report.largest = entry.report.largest.max(largest);
        entry.report.due = true;
        entry.report.list(place, &mut self.touched);
    }

    /// Notes that an SA dropped so many packets.
    pub fn dropped(&mut self, place: usize, packets: u64) {
        let Some(entry) = self.entries.get_mut(place) else { return };
        entry.report.errors += packets;
        entry.report.list(place, &mut self.touched);
    }

    /// Writes the facts of the SAs that were used since the last time. Says whether one deserves a wake-up.
    pub fn publish(&mut self, now: Instant) -> bool {
        let mut wake = false;
        for place in self.touched.drain(..) {
            let Some(entry) = self.entries.get_mut(place) else { continue };
            let sa = &entry.sa;
            wake |= entry.report.publish(sa.packets(), sa.bytes(), sa.sequence(), sa.standing(), now);
            if std::mem::take(&mut entry.report.largest) > entry.least_inner_mtu {
                entry.report.facts.record_large();
            }
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
    tunnel: Tunnel,
    source: Option<SocketAddr>,
    new_source: Option<SocketAddr>,
    report: Report,
}

/// The inbound SAs. Every change costs the same however many there are, and an SA that receives nothing costs no time.
#[derive(Default)]
pub struct InboundSadb {
    entries: Slab<InboundEntry>,
    places: SpiMap,
    by_peer: ByPeer,
    /// The SPI looked up last, and its place: packets come in bursts.
    last: Option<(u32, usize)>,
    /// Places of the SAs whose facts are due; room for all, so that a packet never makes it grow.
    touched: Vec<usize>,
    /// An SA came or went since [`took_keys`](Self::took_keys) was asked.
    took_keys: bool,
}

impl InboundSadb {
    /// Adds an SA.
    ///
    /// # Errors
    /// When a key does not fit the suite, or an SA with this SPI is there; nothing changes.
    pub fn install(&mut self, parameters: InboundSaParameters) -> Result<(), InstallError> {
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
        self.took_keys = true;
        if self.places.contains_key(&spi) {
            return Err(InstallError::SpiInUse);
        }
        let (encryption, integrity) = (keys.encryption.as_bytes(), keys.integrity.as_bytes());
        let sa = InboundSa::new(spi, suite, encryption, integrity, extended_sequence, replay_window, limits)?;
        let inner_mtu = tunnel.inner_mtu(sa.overhead());
        let report = Report::new(facts);
        let entry = InboundEntry { sa, selectors, inner_mtu, tunnel, source: None, new_source: None, report };
        let place = self.entries.insert(entry);
        self.by_peer.insert(tunnel.path, place);
        self.places.insert(spi, place);
        reserve_all(&mut self.touched, self.entries.len());
        Ok(())
    }

    /// Whether an SA came or went since the last call: then keys have passed over the stack of the thread.
    pub fn took_keys(&mut self) -> bool {
        std::mem::take(&mut self.took_keys)
    }

    /// Removes an SA and its keys.
    pub fn remove(&mut self, spi: u32) {
        self.took_keys = true;
        if let Some(place) = self.places.remove(&spi) {
            if let Some(entry) = self.entries.remove(place) {
                self.by_peer.remove(entry.tunnel.path, place);
            }
            self.touched.retain(|touched| *touched != place);
            self.last = None;
        }
    }

    /// The other direction goes elsewhere or in another form.
    pub fn set_path(&mut self, spi: u32, path: OuterPath, encapsulation: Encapsulation) {
        let Some(place) = self.places.get(&spi).copied() else { return };
        let Some(entry) = self.entries.get_mut(place) else { return };
        let before = entry.tunnel;
        entry.tunnel = Tunnel { path, encapsulation, ..before };
        entry.inner_mtu = entry.tunnel.inner_mtu(entry.sa.overhead());
        self.by_peer.remove(before.path, place);
        self.by_peer.insert(path, place);
    }

    /// The path to a peer takes outer packets of this size. Looks at the SAs with this peer.
    pub fn set_path_mtu(&mut self, peer: IpAddr, mtu: u16) {
        for place in self.by_peer.places(peer) {
            let Some(entry) = self.entries.get_mut(place) else { continue };
            entry.tunnel.outer_mtu = mtu;
            entry.inner_mtu = entry.tunnel.inner_mtu(entry.sa.overhead());
        }
    }

    /// The place of the SA of an SPI. It holds until the SA is removed.
    pub fn find(&mut self, spi: u32) -> Option<usize> {
        let place = match self.last {
            Some((last, place)) if last == spi => place,
            _ => *self.places.get(&spi)?,
        };
        self.last = Some((spi, place));
        Some(place)
    }

    /// The SA at a place that [`find`](Self::find) found since the last change.
    ///
    /// # Panics
    /// When there is none, a mistake of the caller.
    pub fn entry(&mut self, place: usize) -> &mut InboundEntry {
        self.entries.get_mut(place).expect("the SA was found since the last change")
    }

    /// Notes an authentic packet. `newest` says that its sequence number was the highest yet: only then does its source
    /// count, so that a replayed or delayed packet cannot move the peer (RFC 7296 section 2.23).
    pub fn touch(&mut self, place: usize, newest: bool, source: SocketAddr) {
        let Some(entry) = self.entries.get_mut(place) else { return };
        if newest {
            entry.new_source = Some(source);
        }
        entry.report.due = true;
        entry.report.list(place, &mut self.touched);
    }

    /// Notes that an SA dropped a packet, perhaps one that its peer has not sent.
    pub fn dropped(&mut self, place: usize) {
        let Some(entry) = self.entries.get_mut(place) else { return };
        entry.report.errors += 1;
        entry.report.list(place, &mut self.touched);
    }

    /// Writes the facts of the SAs that were used since the last time. Says whether one deserves a wake-up.
    pub fn publish(&mut self, now: Instant) -> bool {
        let mut wake = false;
        for place in self.touched.drain(..) {
            let Some(entry) = self.entries.get_mut(place) else { continue };
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

/// Gives a list of places room for all.
fn reserve_all(touched: &mut Vec<usize>, entries: usize) {
    touched.reserve(entries - touched.len());
}

/// When to write an SA's facts.
struct Report {
    facts: Arc<SaFacts>,
    /// It was used since the last time.
    due: bool,
    /// It stands among those to be told of.
    listed: bool,
    /// Packets that it has dropped.
    errors: u64,
    /// The worst standing that was told.
    told: Standing,
    /// Of the packets that are yet to be told of.
    largest: usize,
}

impl Report {
    fn new(facts: Arc<SaFacts>) -> Self {
        Self { facts, due: false, listed: false, errors: 0, told: Standing::Usable, largest: 0 }
    }

    /// Puts the SA's place among those to be told of, once.
    fn list(&mut self, place: usize, touched: &mut Vec<usize>) {
        if !std::mem::replace(&mut self.listed, true) {
            touched.push(place);
        }
    }

    fn publish(&mut self, packets: u64, bytes: u64, sequence: u64, standing: Standing, now: Instant) -> bool {
        self.listed = false;
        self.facts.record_errors(self.errors);
        if !std::mem::take(&mut self.due) {
            return false;
        }
        let first = self.facts.record(packets, bytes, sequence, now);
        let mut wake = first;
        if standing > self.told {
            self.told = standing;
            self.facts.record_soft_limit();
            if standing == Standing::Exhausted {
                self.facts.record_exhausted();
            }
            wake = true;
        }
        wake
    }
}

#[cfg(test)]
mod tests;
