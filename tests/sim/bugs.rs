//! Bugs planted between an endpoint and its world. The invariants must find each of them within a few schedules.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use ipsec_gateway::crypto::digest::hmac_sha256;
use ipsec_gateway::ike::{ChildSa, Event, Removal, Transmit};
use ipsec_gateway::wire::ike::{
    ExchangeType, Header, IkeSpi, NotifyType, ParsedMessage, Payload, encode_message, parse_message,
};

use crate::end::Bug;
use crate::forger::fragment;
use crate::network::Flow;
use crate::pair::Pair;
use crate::schedules::{self, Choose};
use crate::setup::{LEFT, Setup, end_of, token_secret};

/// Schedules within which a bug must be found.
const SCHEDULES: u64 = 500;
/// Schedules of two ends in which a bug does no harm that needs a third end.
const HARMLESS_SCHEDULES: u64 = 200;

fn header(message: &[u8]) -> Option<Header> {
    Header::parse(message).ok()
}

fn is_request(message: &[u8]) -> bool {
    header(message).is_some_and(|header| !header.flags.response)
}

/// Sends every request once only.
#[derive(Default)]
struct NeverRetransmits(HashSet<Vec<u8>>);

impl Bug for NeverRetransmits {
    fn transmit(&mut self, transmit: Transmit) -> Vec<Transmit> {
        let again = is_request(&transmit.payload) && !self.0.insert(transmit.payload.clone());
        if again { Vec::new() } else { vec![transmit] }
    }
}

/// Answers a request once only, as if the response were not kept.
#[derive(Default)]
struct ForgetsResponses(HashSet<Vec<u8>>);

impl Bug for ForgetsResponses {
    fn receive(&mut self, message: Vec<u8>) -> Option<Vec<u8>> {
        let again = is_request(&message) && !self.0.insert(message.clone());
        (!again).then_some(message)
    }
}

/// Changes a request when it is repeated: another message under the same id.
#[derive(Default)]
struct ReusesMessageIds(HashMap<Vec<u8>, u8>);

impl Bug for ReusesMessageIds {
    fn transmit(&mut self, mut transmit: Transmit) -> Vec<Transmit> {
        let original = transmit.payload.clone();
        if is_request(&original) && header(&original).is_some_and(|header| !header.responder_spi.is_zero()) {
            let sent = self.0.entry(original).or_default();
            if let Some(last) = transmit.payload.last_mut() {
                *last ^= *sent;
            }
            *sent = sent.wrapping_add(1);
        }
        vec![transmit]
    }
}

/// Repeats every request ten times at once.
struct Floods;

impl Bug for Floods {
    fn transmit(&mut self, transmit: Transmit) -> Vec<Transmit> {
        let copies = if is_request(&transmit.payload) { 10 } else { 1 };
        vec![transmit; copies]
    }
}

/// Repeats a request twice where it is to do so once.
#[derive(Default)]
struct RepeatsTwice(HashSet<Vec<u8>>);

impl Bug for RepeatsTwice {
    fn transmit(&mut self, transmit: Transmit) -> Vec<Transmit> {
        let again = is_request(&transmit.payload) && !self.0.insert(transmit.payload.clone());
        vec![transmit; if again { 2 } else { 1 }]
    }
}

/// Answers everything twice.
struct AnswersTwice;

impl Bug for AnswersTwice {
    fn transmit(&mut self, transmit: Transmit) -> Vec<Transmit> {
        let copies = if is_request(&transmit.payload) { 1 } else { 2 };
        vec![transmit; copies]
    }
}

/// Never tells the peer what was deleted, nor whether it lives.
struct DropsDeletes;

impl Bug for DropsDeletes {
    fn transmit(&mut self, transmit: Transmit) -> Vec<Transmit> {
        let informational = header(&transmit.payload)
            .is_some_and(|header| header.exchange_type == ExchangeType::INFORMATIONAL && !header.flags.response);
        if informational { Vec::new() } else { vec![transmit] }
    }
}

/// Sleeps through its deadlines.
struct Oversleeps;

impl Bug for Oversleeps {
    fn wakes_up(&self) -> bool {
        false
    }
}

/// Sends on a new SA before the peer is known to have it.
struct ActivatesTooEarly;

impl Bug for ActivatesTooEarly {
    fn event(&mut self, event: Event) -> Vec<Event> {
        match event {
            Event::ChildInstalled(child) => {
                let ChildSa { association, inbound_spi, outbound_spi, .. } = *child;
                let connection = child.connection.clone();
                let activated = Event::ChildOutboundActivated { connection, association, inbound_spi, outbound_spi };
                vec![Event::ChildInstalled(child), activated]
            }
            other => vec![other],
        }
    }
}

/// Never switches to a new SA that is not to be used at once.
#[derive(Default)]
struct NeverActivates {
    /// What was installed last.
    new: Option<u32>,
}

impl Bug for NeverActivates {
    fn event(&mut self, event: Event) -> Vec<Event> {
        let new = self.new.take();
        match event {
            Event::ChildInstalled(child) => {
                self.new = Some(child.inbound_spi);
                vec![Event::ChildInstalled(child)]
            }
            Event::ChildOutboundActivated { inbound_spi, .. } if new != Some(inbound_spi) => Vec::new(),
            other => vec![other],
        }
    }
}

/// Removes the inbound SA with the outbound one, while packets are still under way.
#[derive(Default)]
struct RemovesAtOnce(HashSet<u32>);

impl Bug for RemovesAtOnce {
    fn event(&mut self, event: Event) -> Vec<Event> {
        match event {
            Event::ChildOutboundRetired { connection, association, inbound_spi } => {
                if !self.0.insert(inbound_spi) {
                    return Vec::new();
                }
                let (child, outbound_spi, reason) = ("".into(), 0, Removal::Replaced);
                vec![Event::ChildRemoved { connection, association, child, inbound_spi, outbound_spi, reason }]
            }
            Event::ChildRemoved { inbound_spi, .. } if self.0.remove(&inbound_spi) => Vec::new(),
            other => vec![other],
        }
    }
}

/// Keeps pairs that were removed, so that SAs pile up.
struct NeverRemoves;

impl Bug for NeverRemoves {
    fn event(&mut self, event: Event) -> Vec<Event> {
        let drop = matches!(event, Event::ChildRemoved { .. } | Event::ChildOutboundRetired { .. });
        if drop { Vec::new() } else { vec![event] }
    }
}

/// Uses the initiator's keys for both roles: inbound and outbound are swapped.
struct SwapsKeys;

impl Bug for SwapsKeys {
    fn event(&mut self, event: Event) -> Vec<Event> {
        match event {
            Event::ChildInstalled(mut child) => {
                let child_ref = &mut *child;
                std::mem::swap(&mut child_ref.inbound_keys, &mut child_ref.outbound_keys);
                vec![Event::ChildInstalled(child)]
            }
            other => vec![other],
        }
    }
}

/// Retires the newer pair when a pair was replaced: the wrong winner.
#[derive(Default)]
struct PicksTheWrongWinner {
    /// What was activated last: what is retired at once is replaced by it.
    activated: Option<u32>,
    successor: HashMap<u32, u32>,
}

impl Bug for PicksTheWrongWinner {
    fn event(&mut self, event: Event) -> Vec<Event> {
        let activated = self.activated.take();
        match event {
            Event::ChildOutboundActivated { connection, association, inbound_spi, outbound_spi } => {
                self.activated = Some(inbound_spi);
                vec![Event::ChildOutboundActivated { connection, association, inbound_spi, outbound_spi }]
            }
            Event::ChildOutboundRetired { connection, association, inbound_spi } => {
                self.successor.extend(activated.map(|successor| (inbound_spi, successor)));
                let inbound_spi = self.successor.get(&inbound_spi).copied().unwrap_or(inbound_spi);
                vec![Event::ChildOutboundRetired { connection, association, inbound_spi }]
            }
            other => vec![other],
        }
    }
}

/// Tells the data path of a new inbound SA only after the next thing has happened.
#[derive(Default)]
struct InstallsTooLate(VecDeque<Event>);

impl Bug for InstallsTooLate {
    fn event(&mut self, event: Event) -> Vec<Event> {
        if matches!(event, Event::ChildInstalled(_)) {
            self.0.push_back(event);
            return Vec::new();
        }
        self.0.drain(..).chain([event]).collect()
    }
}

/// Does not follow a peer to its new address.
struct StaysOnTheOldPath;

impl Bug for StaysOnTheOldPath {
    fn event(&mut self, event: Event) -> Vec<Event> {
        if matches!(event, Event::PathChanged { .. }) { Vec::new() } else { vec![event] }
    }
}

/// Sends on the newest pair of a child, whatever its traffic selectors say.
struct ForgetsSelectors;

impl Bug for ForgetsSelectors {
    fn carries(&self, pair: &Pair, flow: Flow) -> bool {
        *pair.child == *format!("net-{}", flow.child)
    }
}

/// Sends everything of a connection to where one of its peers has moved.
#[derive(Default)]
struct MovesEveryPath(BTreeSet<u32>);

impl Bug for MovesEveryPath {
    fn event(&mut self, event: Event) -> Vec<Event> {
        match event {
            Event::ChildInstalled(child) => {
                self.0.insert(child.inbound_spi);
                vec![Event::ChildInstalled(child)]
            }
            Event::PathChanged { connection, inbound_spis: _, path } => {
                vec![Event::PathChanged { connection, inbound_spis: self.0.iter().copied().collect(), path }]
            }
            other => vec![other],
        }
    }
}

/// Takes a connection for a single peer: one that comes takes the place of the one that was there.
#[derive(Default)]
struct KeepsOnePeer {
    /// By inbound SPI: the outbound one, and where the pair leads.
    pairs: BTreeMap<u32, (u32, Option<usize>)>,
}

impl Bug for KeepsOnePeer {
    fn event(&mut self, event: Event) -> Vec<Event> {
        match event {
            Event::ChildInstalled(child) => {
                let far = end_of(&child.peer_selectors);
                let others = self.pairs.extract_if(.., |_, (_, other)| *other != far);
                let mut events: Vec<Event> = others
                    .map(|(inbound_spi, (outbound_spi, _))| Event::ChildRemoved {
                        connection: child.connection.clone(),
                        association: child.association,
                        child: child.child.clone(),
                        inbound_spi,
                        outbound_spi,
                        reason: Removal::Replaced,
                    })
                    .collect();
                self.pairs.insert(child.inbound_spi, (child.outbound_spi, far));
                events.push(Event::ChildInstalled(child));
                events
            }
            Event::ChildRemoved { inbound_spi, .. } => {
                self.pairs.remove(&inbound_spi).map_or_else(Vec::new, |_| vec![event])
            }
            Event::ChildOutboundActivated { inbound_spi, .. } | Event::ChildOutboundRetired { inbound_spi, .. } => {
                if self.pairs.contains_key(&inbound_spi) {
                    vec![event]
                } else {
                    Vec::new()
                }
            }
            other => vec![other],
        }
    }
}

/// Keeps the first fragment of a number that comes, verified or not.
#[derive(Default)]
struct KeepsUnverifiedFragments(HashMap<(IkeSpi, u32, bool, u16), Vec<u8>>);

impl Bug for KeepsUnverifiedFragments {
    fn receive(&mut self, message: Vec<u8>) -> Option<Vec<u8>> {
        let Ok(ParsedMessage { header, encrypted: Some(encrypted), .. }) = parse_message(&message) else {
            return Some(message);
        };
        let Some(fragment) = encrypted.fragment else { return Some(message) };
        let key = (header.initiator_spi, header.message_id, header.flags.response, fragment.number);
        let first = self.0.entry(key).or_insert_with(|| message.clone());
        (*first == message).then_some(message)
    }
}

/// Takes any token for the one that the left end has told of this IKE SA.
struct TakesAnyToken;

impl Bug for TakesAnyToken {
    fn receive(&mut self, message: Vec<u8>) -> Option<Vec<u8>> {
        let Ok(ParsedMessage { header, mut payloads, encrypted: None, .. }) = parse_message(&message) else {
            return Some(message);
        };
        for payload in &mut payloads {
            if let Payload::Notify(notify) = payload
                && notify.kind == NotifyType::QUICK_CRASH_DETECTION
            {
                let role = [u8::from(header.flags.initiator)];
                let spis: [&[u8]; 3] = [&header.initiator_spi.0, &header.responder_spi.0, &role];
                notify.data = hmac_sha256(token_secret(LEFT).as_bytes(), &spis).to_vec();
            }
        }
        encode_message(&header, &payloads).ok()
    }
}

/// Sends the first fragment of a message only.
struct SendsFirstFragmentsOnly;

impl Bug for SendsFirstFragmentsOnly {
    fn transmit(&mut self, transmit: Transmit) -> Vec<Transmit> {
        if fragment(&transmit.payload) == 1 { vec![transmit] } else { Vec::new() }
    }
}

/// Does not ask for what a childless IKE SA is to have.
#[derive(Default)]
struct StaysChildless {
    has_children: bool,
}

impl Bug for StaysChildless {
    fn transmit(&mut self, transmit: Transmit) -> Vec<Transmit> {
        let asks = header(&transmit.payload)
            .is_some_and(|header| header.exchange_type == ExchangeType::CREATE_CHILD_SA && !header.flags.response);
        if asks && !self.has_children { Vec::new() } else { vec![transmit] }
    }

    fn event(&mut self, event: Event) -> Vec<Event> {
        self.has_children |= matches!(event, Event::ChildInstalled(_));
        vec![event]
    }
}

/// The number of schedules after which a bug is found, with what.
fn found(choose: Choose, schedules: u64, bug: impl Fn() -> Box<dyn Bug>) -> Option<(u64, String)> {
    (0..schedules)
        .find_map(|seed| schedules::run(choose, seed, bug(), false).violation.map(|violation| (seed + 1, violation)))
}

fn must_find(choose: Choose, name: &str, bug: impl Fn() -> Box<dyn Bug>) {
    let (schedules, violation) =
        found(choose, SCHEDULES, bug).unwrap_or_else(|| panic!("{SCHEDULES} schedules do not find: {name}"));
    println!("{name}: found in schedule {schedules}: {violation}");
}

macro_rules! planted {
    ($($test:ident = $bug:expr;)*) => {
        $(#[test]
        fn $test() {
            must_find(Setup::random, stringify!($test), || Box::new($bug));
        })*
    };
}

/// For bugs that do no harm while an end has a single peer.
macro_rules! planted_between_peers {
    ($($test:ident = $bug:expr;)*) => {
        $(#[test]
        fn $test() {
            let of_two = found(Setup::random, HARMLESS_SCHEDULES, || Box::new($bug));
            assert_eq!(of_two, None, "two ends find it: no need of a third");
            must_find(Setup::random_warriors, stringify!($test), || Box::new($bug));
        })*
    };
}

planted! {
    never_retransmits = NeverRetransmits::default();
    forgets_responses = ForgetsResponses::default();
    reuses_message_ids = ReusesMessageIds::default();
    floods = Floods;
    repeats_twice = RepeatsTwice::default();
    answers_twice = AnswersTwice;
    drops_deletes = DropsDeletes;
    oversleeps = Oversleeps;
    activates_too_early = ActivatesTooEarly;
    never_activates = NeverActivates::default();
    removes_at_once = RemovesAtOnce::default();
    never_removes = NeverRemoves;
    swaps_keys = SwapsKeys;
    picks_the_wrong_winner = PicksTheWrongWinner::default();
    installs_too_late = InstallsTooLate::default();
    stays_on_the_old_path = StaysOnTheOldPath;
    keeps_unverified_fragments = KeepsUnverifiedFragments::default();
    takes_any_token = TakesAnyToken;
    sends_first_fragments_only = SendsFirstFragmentsOnly;
    stays_childless = StaysChildless::default();
}

planted_between_peers! {
    forgets_selectors = ForgetsSelectors;
    moves_every_path = MovesEveryPath::default();
    keeps_one_peer = KeepsOnePeer::default();
}
