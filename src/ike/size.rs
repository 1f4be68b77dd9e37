//! Whether the messages of a connection fit the wire: counts and lengths of IKE have one octet or two (RFC 7296 3.2, 3.3,
//! 3.13), and a message is one datagram. A configuration that does not fit is refused before anybody negotiates with it.

use super::config::{Child, Connection};
use super::coverage::Flows;
use super::error::Unsendable;
use super::negotiate;
use super::wanted::WantedChild;
use crate::wire::ike::{
    AuthMethod, Authentication, EncryptedShape, ExchangeType, Flags, Header, IkeSpi, KeyExchange, KeyExchangeId,
    Notify, NotifyType, Payload, TrafficSelector, encode_encrypted, encode_message,
};

/// Initialization vector, block and ICV of the algorithms that take the most room.
const LARGEST_SHAPE: EncryptedShape = EncryptedShape { iv_len: 16, block_len: 16, icv_len: 32 };
/// Bytes of the nonces that we send.
const NONCE: usize = 32;
/// Bytes of a cookie at most (RFC 7296 2.6).
const COOKIE: usize = 64;
/// Bytes of a NAT detection hash (RFC 7296 2.23), and of the AUTH payload of the longest PRF.
const NAT_DETECTION: usize = 20;
const AUTH: usize = 64;
/// Bytes of our token of quick crash detection.
const TOKEN: usize = 32;

impl Connection {
    /// Checks that every request that may have to be sent for this connection fits a message.
    ///
    /// # Errors
    /// Says which one does not, and what there is too much of.
    pub fn check_size(&self) -> Result<(), Unsendable> {
        self.check_init()?;
        for child in &self.children {
            self.check_auth(child)?;
            self.check_create_child(child)?;
        }
        let offer = Payload::SecurityAssociation(negotiate::offer_ike(&self.ike_proposals, &[0; 8]));
        let groups = self.ike_proposals.iter().flat_map(|proposal| &proposal.groups);
        let longest = groups.map(|group| group.public_len).max();
        encrypted(ExchangeType::CREATE_CHILD_SA, &[offer, nonce(), key_exchange(longest)])
    }

    fn check_init(&self) -> Result<(), Unsendable> {
        let groups = self.ike_proposals.iter().flat_map(|proposal| &proposal.groups);
        let notify = |kind, length| Payload::Notify(Notify::new(kind, vec![0; length]));
        let payloads = [
            notify(NotifyType::COOKIE, COOKIE),
            Payload::SecurityAssociation(negotiate::offer_ike(&self.ike_proposals, &[])),
            key_exchange(groups.map(|group| group.public_len).max()),
            nonce(),
            notify(NotifyType::NAT_DETECTION_SOURCE_IP, NAT_DETECTION),
            notify(NotifyType::NAT_DETECTION_DESTINATION_IP, NAT_DETECTION),
            notify(NotifyType::IKEV2_FRAGMENTATION_SUPPORTED, 0),
        ];
        let exchange = ExchangeType::IKE_SA_INIT;
        let encoded = encode_message(&header(exchange), &payloads);
        encoded.map(drop).map_err(|too_long| Unsendable { exchange, response: false, too_long })
    }

    fn check_auth(&self, child: &Child) -> Result<(), Unsendable> {
        let mut payloads = vec![
            Payload::IdentificationInitiator(self.local_id.clone()),
            Payload::Notify(Notify::new(NotifyType::INITIAL_CONTACT, Vec::new())),
        ];
        payloads.extend(self.peer_id.clone().map(Payload::IdentificationResponder));
        payloads.push(Payload::Authentication(Authentication { method: AuthMethod::SHARED_KEY, data: vec![0; AUTH] }));
        payloads.push(Payload::SecurityAssociation(negotiate::offer_esp(&child.esp_proposals, 0, false)));
        payloads.extend(selectors(child));
        payloads.push(Payload::Notify(Notify::new(NotifyType::QUICK_CRASH_DETECTION, vec![0; TOKEN])));
        encrypted(ExchangeType::IKE_AUTH, &payloads)
    }

    fn check_create_child(&self, child: &Child) -> Result<(), Unsendable> {
        let groups = child.esp_proposals.iter().flat_map(|proposal| &proposal.groups);
        let mut payloads = vec![
            Payload::Notify(Notify::about_esp(NotifyType::REKEY_SA, 0, Vec::new())),
            Payload::SecurityAssociation(negotiate::offer_esp(&child.esp_proposals, 0, true)),
            nonce(),
            key_exchange(groups.map(|group| group.public_len).max()),
        ];
        payloads.extend(selectors(child));
        encrypted(ExchangeType::CREATE_CHILD_SA, &payloads)
    }
}

fn header(exchange: ExchangeType) -> Header {
    Header::new(IkeSpi::ZERO, IkeSpi::ZERO, exchange, Flags::default(), 0)
}

fn encrypted(exchange: ExchangeType, payloads: &[Payload]) -> Result<(), Unsendable> {
    let encoded = encode_encrypted(&header(exchange), &[], payloads, LARGEST_SHAPE);
    encoded.map(drop).map_err(|too_long| Unsendable { exchange, response: false, too_long })
}

fn nonce() -> Payload {
    Payload::Nonce(vec![0; NONCE])
}

fn key_exchange(public_len: Option<usize>) -> Payload {
    Payload::KeyExchange(KeyExchange { group: KeyExchangeId::NONE, data: vec![0; public_len.unwrap_or(0)] })
}

/// The TS payloads, with the room that a packet's own selectors take (they are left out where the count is reached).
fn selectors(child: &Child) -> [Payload; 2] {
    let (local, peer): (&[TrafficSelector], &[TrafficSelector]) = (&child.local_selectors, &child.peer_selectors);
    let host = |selector: &TrafficSelector| TrafficSelector::from_address(selector.start);
    let packet = local.first().zip(peer.first()).map(|(local, peer)| Flows { local: host(local), peer: host(peer) });
    let (local, peer) = WantedChild { packet, ..WantedChild::new(child.name.clone()) }.selectors(child);
    [Payload::TrafficSelectorsInitiator(local), Payload::TrafficSelectorsResponder(peer)]
}
