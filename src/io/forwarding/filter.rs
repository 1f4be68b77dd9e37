//! The filter against plaintext, kept in step with what is protected.
use std::sync::Arc;

use ipnet::IpNet;
use tracing::{debug, warn};

use crate::io::nftables::{self, ElementSocket, FilterError, Holds, PlaintextFilter, TableChanges};
use crate::routing::{AddressRange, ProtectedSources, SharedSet};

/// Why the filter is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    ByTheKernel,
    ByTheClock,
}

/// What the tunnel device is called at the moment, and what is protected.
type Filtered = (Option<Arc<str>>, SharedSet<AddressRange>);

pub(super) struct Filter {
    table: PlaintextFilter,
    elements: ElementSocket,
    /// What is to be protected.
    sources: ProtectedSources,
    /// What the table takes for the tunnel and protects, and what it then held, once it has been set.
    filtered: Option<(Filtered, Holds)>,
    /// Destinations that it watches.
    pub(super) watched: SharedSet<IpNet>,
    /// It could not be set, or nobody will.
    pub(super) unwatched: bool,
}

impl Filter {
    pub(super) fn new(table: PlaintextFilter) -> Self {
        Filter {
            table,
            elements: ElementSocket::default(),
            sources: ProtectedSources::default(),
            filtered: None,
            watched: SharedSet::default(),
            unwatched: false,
        }
    }

    /// Sets the table for what is protected and exempt unless it stands as it should; `tunnel` is what the device is called
    /// at the moment. Where that fails, only what it watched before is carried; and nothing, if it does not stand any more.
    pub(super) async fn set(
        &mut self,
        tunnel: Option<Arc<str>>,
        protect: &SharedSet<IpNet>,
        exempt: impl Iterator<Item = IpNet>,
    ) -> Result<(), FilterError> {
        self.sources.change(protect, exempt);
        let wanted = (tunnel, self.sources.ranges().clone());
        if self.filtered.as_ref().is_some_and(|(filtered, _)| *filtered == wanted) {
            self.watch(protect);
            return Ok(());
        }
        let (tunnel, protected) = wanted.clone();
        // Of a table that stands only the elements change that differ.
        if let Some(((_, before), _)) = self.filtered.as_ref().filter(|((trusted, _), _)| *trusted == tunnel) {
            match self.table.trusting(tunnel.clone()).change(&mut self.elements, before, &protected).await {
                Ok(true) => {
                    let held = self.filtered.take().map(|(_, held)| held.with_other_elements());
                    self.filtered = held.map(|held| (wanted, held));
                    self.watch(protect);
                    return Ok(());
                }
                Ok(false) => {}
                Err(error) => debug!(%error, "the filter is set as a whole"),
            }
        }
        match self.table.trusting(tunnel).apply(protected.iter().copied().collect()).await {
            Ok(listing) => {
                self.filtered = Some((wanted, Holds::This(listing)));
                self.unwatched = false;
                self.watch(protect);
                Ok(())
            }
            Err(error) => {
                // A table that stood still stands, as it was.
                if self.filtered.is_none() {
                    self.watched = SharedSet::default();
                    self.unwatched = true;
                }
                Err(error)
            }
        }
    }

    fn watch(&mut self, protect: &SharedSet<IpNet>) {
        self.watched = protect.clone();
    }

    /// The socket on which the elements are changed: changes that were asked for on it are no reason for a comparison, as
    /// the kernel has acknowledged them.
    pub(super) fn port(&self) -> Option<u32> {
        self.elements.port()
    }

    /// Compares the whole table with what it held when it was set, as somebody `told` of a change, and forgets that if it
    /// differs, so that the next round sets it again. Only this ends the suspicion.
    pub(super) async fn verify(&mut self, told: Told) {
        let Some(((tunnel, protected), held)) = &self.filtered else { return };
        debug!(?told, "the filter is compared");
        let stands = match held {
            Holds::This(held) => self.table.listing().await.map(|listing| listing.filter(|listing| listing == held)),
            Holds::WithOtherElements(held) => {
                let protected: Vec<AddressRange> = protected.iter().copied().collect();
                let whole = self.table.trusting(tunnel.clone()).whole(&protected).await;
                whole.map(|listing| listing.filter(|listing| listing.has_the_rules_of(held)))
            }
        };
        match stands {
            Ok(Some(listing)) => {
                if let Some((_, held)) = &mut self.filtered {
                    *held = Holds::This(listing);
                }
            }
            Ok(None) => {
                warn!("somebody changed gatewayd's nftables table; it is set again");
                self.filtered = None;
            }
            Err(error) => {
                debug!(%error, "the filter cannot be compared");
                // Only what the kernel told is a reason to believe that it does not stand any more.
                if told == Told::ByTheKernel {
                    self.filtered = None;
                }
            }
        }
    }
}

/// Takes what the kernel told of others' changes of the filter's table since it was last listened to.
pub(super) fn heard(changes: &mut Option<TableChanges>, ours: Option<u32>) -> Option<Told> {
    match changes.as_ref()?.take(nftables::TABLE, ours) {
        Ok(about) => about.then_some(Told::ByTheKernel),
        Err(error) => {
            debug!(%error, "listening for changes of the filter ended");
            *changes = None;
            Some(Told::ByTheKernel)
        }
    }
}
