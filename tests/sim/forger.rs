//! Somebody on the way, who sees every message and sends others beside it, but has no key.

use std::collections::HashMap;
use std::net::IpAddr;

use ipsec_gateway::crypto::fake::SeededEntropy;
use ipsec_gateway::wire::ike::{
    ExchangeType, Flags, Header, IkeSpi, Notify, NotifyType, Payload, encode_message, parse_message,
};

use crate::network::{Datagram, Packet};

/// The number of a fragment; 1 for what is whole.
pub fn fragment(message: &[u8]) -> u16 {
    let fragment = parse_message(message).ok().and_then(|message| message.encrypted?.fragment);
    fragment.map_or(1, |fragment| fragment.number)
}

/// What the forger has seen.
#[derive(Default)]
pub struct Forger {
    /// The tokens that were told in the clear, of IKE SAs that were lost, by the SPIs.
    tokens: HashMap<(IkeSpi, IkeSpi), Vec<u8>>,
}

impl Forger {
    /// What is sent beside this datagram, each with the address that it pretends to come from: a damaged copy of a
    /// fragment; and to who sends a request, a token that is none, or that of another IKE SA.
    pub fn beside(
        &mut self,
        datagram: &Datagram,
        through_nat: bool,
        random: &mut SeededEntropy,
    ) -> Vec<(Option<IpAddr>, Datagram)> {
        let mut forged = Vec::new();
        let Packet::Ike(message) = &datagram.packet else { return forged };
        let Ok(parsed) = parse_message(message) else { return forged };
        let header = parsed.header;
        let Some(encrypted) = parsed.encrypted else {
            self.remember(&header, &parsed.payloads);
            return forged;
        };
        if encrypted.fragment.is_some() {
            let mut damaged = message.clone();
            if let Some(last) = damaged.last_mut() {
                *last ^= 1;
            }
            forged.push((None, Datagram { packet: Packet::Ike(damaged), ..datagram.clone() }));
        }
        // An answer has to find its way back.
        if !header.flags.response && !through_nat && random.next_u64().is_multiple_of(4) {
            let (source, destination) = (datagram.destination, datagram.source);
            let packet = Packet::Ike(self.disown(&header, random));
            forged.push((Some(source.ip()), Datagram { source, destination, packet, ..datagram.clone() }));
        }
        forged
    }

    fn remember(&mut self, header: &Header, payloads: &[Payload]) {
        for payload in payloads {
            if let Payload::Notify(notify) = payload
                && notify.kind == NotifyType::QUICK_CRASH_DETECTION
            {
                self.tokens.insert((header.initiator_spi, header.responder_spi), notify.data.clone());
            }
        }
    }

    /// The answer of an end that has lost the IKE SA of this request, but for the token.
    fn disown(&self, request: &Header, random: &mut SeededEntropy) -> Vec<u8> {
        let of_another =
            self.tokens.iter().filter(|(spis, _)| **spis != (request.initiator_spi, request.responder_spi));
        let token = match of_another.map(|(_, token)| token).min() {
            Some(token) if random.next_u64().is_multiple_of(2) => token.clone(),
            _ => (0..4).flat_map(|_| random.next_u64().to_be_bytes()).collect(),
        };
        let flags = Flags { initiator: !request.flags.initiator, response: true, ..Flags::default() };
        let (initiator, responder) = (request.initiator_spi, request.responder_spi);
        let header = Header::new(initiator, responder, ExchangeType::INFORMATIONAL, flags, request.message_id);
        let notify = Payload::Notify(Notify::new(NotifyType::QUICK_CRASH_DETECTION, token));
        encode_message(&header, &[notify]).expect("a short message")
    }
}
