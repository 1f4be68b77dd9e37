//! Every phase of an established IKE SA, with every exchange of ours that may be under way in it, and every input: what is
//! answered, what is under way afterwards, and the phase then.

use super::*;
use crate::ike::channel::Opened;
use crate::ike::event::SaLimit;
use crate::ike::exchange::Exchange;
use crate::ike::exchange::task::Task;
use crate::ike::sa::{Cause, Phase};
use crate::ike::state::established::Established;
use crate::ike::wanted::WantedChild;
use crate::ike::{RekeyWhat, Removal, message, negotiate};
use crate::wire::ike::{Delete, ExchangeType, Notify, NotifyType, Payload, PayloadType, parse_message};

/// The phases, each with the exchanges that may be under way: nothing, CREATE_CHILD_SA for a new child (C), for the rekey of
/// the pair (R), for the rekey of the IKE SA (I) and that with a rekey of the peer's answered meanwhile (V); INFORMATIONAL
/// that deletes the pair (D), the IKE SA (E), asks for a sign of life (L), probes the path (P).
///
/// Passive: only what the peer's rekey of the IKE SA may meet (RFC 7296 2.25.2). Closing: the deletion waits for what is under
/// way.
const SITUATIONS: [&str; 19] = [
    "active",
    "active C",
    "active R",
    "active I",
    "active V",
    "active D",
    "active L",
    "active P", //
    "passive",
    "passive L",
    "passive P", //
    "closing C",
    "closing R",
    "closing I",
    "closing V",
    "closing D",
    "closing E",
    "closing L",
    "closing P",
];

/// What each input leads to in each situation. Of requests the answer: `sa` what was asked for, `ok` nothing but that, `del`
/// the other half of a deletion, else an error: `temp` TEMPORARY_FAILURE, `none` CHILD_SA_NOT_FOUND, `ts` TS_UNACCEPTABLE, `syntax` INVALID_SYNTAX, `critical`
/// UNSUPPORTED_CRITICAL_PAYLOAD.
/// Of everything else what is under way then, by its letter, `-` for nothing, `+` with another IKE SA being negotiated.
/// Behind that the phase, if it is another one then.
///
/// Requests come first; after `>` responses, which change nothing where none is waited for; after `!` commands. The collisions
/// are those of RFC 7296 2.25.1 and 2.25.2: only what is about an IKE SA that goes, or is being replaced, is to be asked again
/// later, never a deletion.
#[rustfmt::skip]
const TABLE: &[(&str, [&str; 3])] = &[
    ("create child", ["sa sa sa temp temp sa sa sa", "temp temp temp", "temp temp temp temp temp temp temp temp"]),
    ("rekey child", ["sa sa sa temp temp temp sa sa", "temp temp temp", "temp temp temp temp temp temp temp temp"]),
    ("rekey child as another", ["ts ts ts temp temp temp ts ts", "temp temp temp", "temp temp temp temp temp temp temp temp"]),
    ("rekey unknown child", ["none none none temp temp none none none", "temp temp temp", "temp temp temp temp temp temp temp temp"]),
    ("rekey IKE", ["sa/passive temp temp sa temp temp sa/passive sa/passive", "temp temp temp", "temp temp temp temp temp temp temp temp"]),
    ("delete child", ["del del del del del ok del del", "ok ok ok", "ok ok ok ok ok ok ok ok"]),
    ("delete unknown child", ["ok ok ok ok ok ok ok ok", "ok ok ok", "ok ok ok ok ok ok ok ok"]),
    ("delete IKE", ["ok/gone ok/gone ok/gone ok/gone ok/gone ok/gone ok/gone ok/gone", "ok/gone ok/gone ok/gone", "ok/gone ok/gone ok/gone ok/gone ok/gone ok/gone ok/gone ok/gone"]),
    ("AUTHENTICATION_FAILED", ["ok/gone ok/gone ok/gone ok/gone ok/gone ok/gone ok/gone ok/gone", "ok/gone ok/gone ok/gone", "ok/gone ok/gone ok/gone ok/gone ok/gone ok/gone ok/gone ok/gone"]),
    ("empty", ["ok ok ok ok ok ok ok ok", "ok ok ok", "ok ok ok ok ok ok ok ok"]),
    ("unknown exchange", ["answer answer answer answer answer answer answer answer", "answer answer answer", "answer answer answer answer answer answer answer answer"]),
    ("malformed", ["syntax/gone syntax/gone syntax/gone syntax/gone syntax/gone syntax/gone syntax/gone syntax/gone", "syntax/gone syntax/gone syntax/gone", "syntax/gone syntax/gone syntax/gone syntax/gone syntax/gone syntax/gone syntax/gone syntax/gone"]),
    ("critical", ["critical critical critical critical critical critical critical critical", "critical critical critical", "critical critical critical critical critical critical critical critical"]),
    ("> success", ["- - D E/closing E/closing - - -", "- - -", "E E E E E -/gone E E"]),
    ("> TEMPORARY_FAILURE", ["- - - - -/passive - - -", "- - -", "E E E E E -/gone E E"]),
    ("> CHILD_SA_NOT_FOUND", ["- - C -+ -/passive - - -", "- - -", "E E E E E -/gone E E"]),
    ("> NO_ADDITIONAL_SAS", ["- - -+ -+ -/passive - - -", "- - -", "E E E E E -/gone E E"]),
    ("> NO_PROPOSAL_CHOSEN", ["- - -+ -+ -/passive - - -", "- - -", "E E E E E -/gone E E"]),
    ("> INVALID_KE_PAYLOAD", ["- - -+ I I - - -", "- - -", "E E E E E -/gone E E"]),
    ("> INVALID_SYNTAX", ["- L L+ L+ -/passive - - -", "- - -", "E E E E E -/gone E E"]),
    ("timeout", ["- -/gone -/gone -/gone -/gone -/gone -/gone -/gone", "-/gone -/gone -/gone", "-/gone -/gone -/gone -/gone -/gone -/gone -/gone -/gone"]),
    ("! rekey IKE", ["I C C I I D L P", "- L P", "C C I I D E L P"]),
    ("! rekey child", ["C C C I I D L P", "- L P", "C C I I D E L P"]),
    ("! down", ["E/closing C/closing C/closing I/closing I/closing D/closing L/closing P/closing", "E/closing L/closing P/closing", "C C I I D E L P"]),
    ("! packet", ["C C C I I D L P", "- L P", "C+ C+ I+ I+ D+ E+ L+ P+"]),
    ("! probe", ["P C C I I D L P", "- L P", "C C I I D E L P"]),
    ("! hard limit", ["C C C I I D L P", "- L P", "C C I I D E L P"]),
    ("! not installed", ["D C C I I D L P", "- L P", "C C I I D E L P"]),
    ("! shutdown", ["E/closing C/closing C/closing I/closing I/closing D/closing L/closing P/closing", "E/closing L/closing P/closing", "C C I I D E L P"]),
];

/// An IKE SA of end 0 in some situation. Its peer can still send requests on it.
struct Bench {
    lab: Lab,
    /// Our SPI and the peer's.
    spis: [IkeSpi; 2],
    /// SPIs of the inbound SAs of the pair.
    pair: [u32; 2],
    /// The request of ours that is under way.
    requests: Vec<Transmit>,
}

fn child(side: usize, name: &str, nets: [&str; 2]) -> Child {
    let (local_selectors, peer_selectors) = (net(nets[side]), net(nets[1 - side]));
    Child { name: Arc::from(name), local_selectors, peer_selectors, esp_proposals: vec![esp_proposal()] }
}

impl Bench {
    fn new(situation: &str) -> Self {
        let configs = [0, 1].map(|side| {
            let mut connection = connection(side);
            connection.start = if side == 0 { Start::OnTraffic } else { Start::Wait };
            connection.children.push(child(side, "more", ["10.3.0.0/16", "10.4.0.0/16"]));
            config(connection)
        });
        let mut lab = Lab::new(configs);
        let (connection, net) = (Arc::from("site"), Arc::from("net"));
        lab.command(0, Command::Acquire { connection, child: net, packet: None });
        lab.settle();
        lab.assert_paired(1);
        let spis = [0, 1].map(|side| *lab.ends[side].connections.ike_sas.all().keys().next().expect("an IKE SA"));
        let pair = [0, 1].map(|side| lab.inbound(side)[0]);
        let mut bench = Self { lab, spis, pair, requests: Vec::new() };
        let (phase, letter) = situation.split_once(' ').unwrap_or((situation, ""));
        let inbound_spi = bench.pair[0];
        let task = match letter {
            "C" => Some(Task::CreateChild(WantedChild::new(Arc::from("more")))),
            "R" => Some(Task::RekeyChild(inbound_spi)),
            "I" | "V" => Some(Task::RekeyIke),
            "D" => Some(Task::DeleteChild { inbound_spi, reason: Removal::Closed }),
            "L" => Some(Task::Liveness),
            "P" => Some(Task::PathProbe(1000)),
            _ => None,
        };
        if let Some(task) = task {
            bench.with(0, |state, cx| state.act(cx, |_, _, agenda, _| agenda.tasks.queue(task)));
        }
        bench.requests.extend(bench.lab.wire.drain(..).map(|(_, transmit)| transmit));
        if phase == "passive" || letter == "V" {
            // With the lowest nonce that there is, so that a rekey of ours is the one that stays.
            assert_eq!(bench.request(ExchangeType::CREATE_CHILD_SA, &Self::rekey_ike([0; 32])), "sa");
            bench.lab.lose();
        }
        if phase == "closing" {
            bench.with(0, |state, cx| state.close(Cause::Closed, Removal::Closed, cx));
            bench.requests.extend(bench.lab.wire.drain(..).map(|(_, transmit)| transmit));
        }
        // What the peer has under way itself is not to keep it from sending.
        bench.unblock(1);
        let found = format!("{} {}", bench.phase(), bench.under_way());
        let (expected, letter) = (phase, if letter.is_empty() { "-" } else { letter });
        assert_eq!(found, format!("{expected} {}", letter.replace('R', "C").replace('V', "I")), "{situation}");
        bench
    }

    fn with(&mut self, side: usize, work: impl FnOnce(&mut Established, &mut crate::ike::context::Context<'_>)) {
        let now = self.lab.now;
        self.lab.ends[side].connections.with_established(self.spis[side], now, work);
        self.lab.collect(side);
    }

    fn unblock(&mut self, side: usize) {
        self.with(side, |state, cx| {
            state.act(cx, |sa, _, _, _| {
                sa.channel_mut().answered();
            });
        });
    }

    /// The phase of the IKE SA.
    fn phase(&self) -> &'static str {
        match self.lab.ends[0].connections.ike_sas.all().get(&self.spis[0]) {
            Some(IkeSa::Established(state)) => match state.sa().phase() {
                Phase::Active => "active",
                Phase::Passive(_) => "passive",
                Phase::Closing(_) => "closing",
            },
            _ => "gone",
        }
    }

    /// The exchange under way, and whether another IKE SA is being negotiated.
    fn under_way(&mut self) -> String {
        let mut letter = "-";
        let now = self.lab.now;
        // What waits begins.
        self.lab.ends[0].connections.with_established(self.spis[0], now, |state, cx| state.advance(cx));
        self.lab.ends[0].connections.with_established(self.spis[0], now, |state, cx| {
            state.act(cx, |_, _, agenda, _| {
                letter = match &agenda.exchange {
                    None => "-",
                    Some(Exchange::CreateChild(_)) => "C",
                    Some(Exchange::RekeyIke(_)) => "I",
                    Some(Exchange::DeleteChild(_)) => "D",
                    Some(Exchange::DeleteIke(_)) => "E",
                    Some(Exchange::Liveness(_)) => "L",
                    Some(Exchange::Inform(_)) => "N",
                    Some(Exchange::PathProbe(_)) => "P",
                };
            });
        });
        self.lab.collect(0);
        let beside = self.lab.ends[0].connections.ike_sas.all().values().any(|sa| matches!(sa, IkeSa::InitSent(_)));
        letter.to_owned() + if beside { "+" } else { "" }
    }

    /// Sends a request of the peer's. Says what it is answered.
    fn request(&mut self, kind: ExchangeType, payloads: &[Payload]) -> String {
        self.with(1, |state, cx| {
            state.act(cx, |sa, _, _, cx| sa.channel_mut().request(kind, payloads, cx).expect("a request"));
        });
        while self.lab.wire.iter().any(|(from, _)| *from == 1) {
            let (from, transmit) = self.lab.wire.pop_front().expect("a datagram");
            if from == 1 {
                self.lab.arrive(0, &transmit);
            }
        }
        let response = self.lab.wire.iter().find(|(from, transmit)| {
            let header = header(transmit);
            *from == 0 && header.flags.response && header.exchange_type == kind
        });
        let Some((_, transmit)) = response else { return "silence".to_owned() };
        let message = parse_message(&transmit.payload).expect("a message");
        let Some(IkeSa::Established(state)) = self.lab.ends[1].connections.ike_sas.all().get(&self.spis[1]) else {
            panic!("no peer")
        };
        let Ok(Opened::Message(opened)) = state.sa().channel().open(&message, transmit.path) else {
            panic!("no answer")
        };
        // Of an exchange that is unknown, the answer cannot be read here either.
        let Ok(payloads) = opened.payloads() else { return "answer".to_owned() };
        let answer = match payloads.error().map(|error| error.kind) {
            Some(NotifyType::TEMPORARY_FAILURE) => "temp",
            Some(NotifyType::CHILD_SA_NOT_FOUND) => "none",
            Some(NotifyType::TS_UNACCEPTABLE) => "ts",
            Some(NotifyType::INVALID_SYNTAX) => "syntax",
            Some(NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD) => "critical",
            Some(other) => panic!("{other}"),
            None if payloads.security_association().is_some() => "sa",
            None if payloads.deletes().next().is_some() => "del",
            None => "ok",
        };
        answer.to_owned()
    }

    /// The CREATE_CHILD_SA request that an end like the peer sends for this, with another REKEY_SA notification if that is
    /// given.
    fn create_child(rekeys: Option<u32>, child: usize) -> Vec<Payload> {
        let proposal = negotiate::offer_esp(&[esp_proposal()], 0x0102_0304, true);
        let nets = [["10.2.0.0/16", "10.1.0.0/16"], ["10.4.0.0/16", "10.3.0.0/16"]][child];
        let rekey = rekeys.map(|spi| Payload::Notify(Notify::about_esp(NotifyType::REKEY_SA, spi, Vec::new())));
        let rest = [
            Payload::SecurityAssociation(proposal),
            Payload::Nonce(vec![7; 32]),
            Payload::TrafficSelectorsInitiator(net(nets[0])),
            Payload::TrafficSelectorsResponder(net(nets[1])),
        ];
        rekey.into_iter().chain(rest).collect()
    }

    fn rekey_ike(nonce: [u8; 32]) -> Vec<Payload> {
        let ours = ke::X25519.generate(&mut SeededEntropy::new(5));
        vec![
            Payload::SecurityAssociation(negotiate::offer_ike(&[ike_proposal()], &[9; 8])),
            Payload::Nonce(nonce.to_vec()),
            message::key_exchange(&ke::X25519, ours.public()),
        ]
    }

    /// What an input leads to, without the phase.
    fn input(&mut self, input: &str) -> String {
        use ExchangeType as X;
        let (pair, now) = (self.pair, self.lab.now);
        let site: Arc<str> = Arc::from("site");
        let notify = |kind| vec![Payload::Notify(Notify::new(kind, Vec::new()))];
        let delete = |spi| vec![Payload::Delete(Delete::esp([spi]))];
        let command = match input {
            "create child" => {
                let payloads = Self::create_child(None, 1);
                return self.request(X::CREATE_CHILD_SA, &payloads);
            }
            "rekey child" => {
                let payloads = Self::create_child(Some(pair[1]), 0);
                return self.request(X::CREATE_CHILD_SA, &payloads);
            }
            "rekey child as another" => {
                let payloads = Self::create_child(Some(pair[1]), 1);
                return self.request(X::CREATE_CHILD_SA, &payloads);
            }
            "rekey unknown child" => {
                let payloads = Self::create_child(Some(0xdead), 0);
                return self.request(X::CREATE_CHILD_SA, &payloads);
            }
            "rekey IKE" => {
                let payloads = Self::rekey_ike([8; 32]);
                return self.request(X::CREATE_CHILD_SA, &payloads);
            }
            "delete child" => return self.request(X::INFORMATIONAL, &delete(pair[1])),
            "delete unknown child" => return self.request(X::INFORMATIONAL, &delete(0xdead)),
            "delete IKE" => return self.request(X::INFORMATIONAL, &[Payload::Delete(Delete::ike())]),
            "AUTHENTICATION_FAILED" => {
                return self.request(X::INFORMATIONAL, &notify(NotifyType::AUTHENTICATION_FAILED));
            }
            "empty" => return self.request(X::INFORMATIONAL, &[]),
            "unknown exchange" => return self.request(X(240), &[]),
            "malformed" => return self.request(X::CREATE_CHILD_SA, &[Payload::Nonce(vec![7; 32])]),
            "critical" => {
                let unknown = Payload::Unknown { payload_type: PayloadType(200), critical: true, body: vec![1] };
                return self.request(X::INFORMATIONAL, &[unknown]);
            }
            "> success" => {
                for request in std::mem::take(&mut self.requests) {
                    self.lab.arrive(1, &request);
                }
                while let Some(at) =
                    self.lab.wire.iter().position(|(from, transmit)| *from == 1 && header(transmit).flags.response)
                {
                    let (_, response) = self.lab.wire.remove(at).expect("a response");
                    self.lab.arrive(0, &response);
                }
                return self.under_way();
            }
            "timeout" => {
                let end = now + 200 * SECOND;
                while let Output::Timeout(Some(deadline)) = self.lab.ends[0].poll_output()
                    && deadline.at <= end
                    && self.phase() != "gone"
                {
                    self.lab.now = self.lab.now.max(deadline.at);
                    self.lab.tick(0);
                    self.lab.lose();
                }
                return self.under_way();
            }
            "! rekey IKE" => Command::Rekey { connection: site, what: RekeyWhat::Ike },
            "! rekey child" => Command::Rekey { connection: site, what: RekeyWhat::Child },
            "! down" => Command::Down { connection: site },
            "! packet" => Command::Acquire { connection: site, child: Arc::from("more"), packet: None },
            "! probe" => Command::ProbePath { inbound_spi: pair[0], size: 900 },
            "! hard limit" => Command::LimitReached { inbound_spi: pair[0], limit: SaLimit::Hard },
            "! not installed" => Command::InstallFailed { inbound_spi: pair[0], reason: "no room".to_owned() },
            "! shutdown" => Command::Shutdown,
            error => {
                let kind = match error {
                    "> TEMPORARY_FAILURE" => NotifyType::TEMPORARY_FAILURE,
                    "> CHILD_SA_NOT_FOUND" => NotifyType::CHILD_SA_NOT_FOUND,
                    "> NO_ADDITIONAL_SAS" => NotifyType::NO_ADDITIONAL_SAS,
                    "> NO_PROPOSAL_CHOSEN" => NotifyType::NO_PROPOSAL_CHOSEN,
                    "> INVALID_KE_PAYLOAD" => NotifyType::INVALID_KE_PAYLOAD,
                    "> INVALID_SYNTAX" => NotifyType::INVALID_SYNTAX,
                    other => panic!("{other}"),
                };
                let data = if kind == NotifyType::INVALID_KE_PAYLOAD { vec![0, 31] } else { Vec::new() };
                let reply = Payloads::new(vec![Payload::Notify(Notify::new(kind, data))]);
                // Not yet: the exchange that is taken out would make room for what comes next.
                self.with(0, |state, cx| {
                    state.act(cx, |sa, _, _, _| {
                        sa.channel_mut().answered();
                    });
                });
                self.lab.ends[0].answer_with(self.spis[0], &reply, now);
                self.lab.collect(0);
                return self.under_way();
            }
        };
        self.lab.command(0, command);
        self.under_way()
    }
}

#[test]
fn every_input_in_every_phase() {
    let mut wrong = Vec::new();
    for (input, cells) in TABLE {
        let expected: Vec<&str> = cells.iter().flat_map(|cells| cells.split_whitespace()).collect();
        assert_eq!(expected.len(), SITUATIONS.len(), "{input}");
        for (situation, expected) in SITUATIONS.iter().zip(expected) {
            let mut bench = Bench::new(situation);
            let (before, what) = (bench.phase(), bench.input(input));
            let phase = bench.phase();
            let found = if phase == before { what } else { format!("{what}/{phase}") };
            if found != expected {
                wrong.push(format!("{input:?} when {situation}: {found}, not {expected}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
