//! Which payloads each exchange carries, how often, and which of them only encrypted (RFC 7296 section 1 and
//! appendix C), as data.
//!
//! Payloads may come in any order (RFC 7296 section 2.5). A payload that is not in an exchange's rows is not an error:
//! whoever handles the exchange does not look at it. A response that reports a failure may leave out what a successful
//! one must have.

use super::codes::{ExchangeType, NotifyType, PayloadType};
use super::payload::Payload;

/// Which half of an exchange a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Opens the exchange, with the R flag clear.
    Request,
    /// Answers a request and ends the exchange, with the R flag set.
    Response,
}

/// Why the payloads of a message do not make up the message that its header announces: INVALID_SYNTAX, when it was
/// authenticated (RFC 7296 section 2.21).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GrammarError {
    /// The exchange type and direction have no rows in the table.
    #[error("{0} is not an exchange with a known grammar")]
    UnknownExchange(ExchangeType),
    /// A payload that this message must have is not there, and no notification reports a failure instead.
    #[error("the {0} payload is missing")]
    Missing(PayloadType),
    /// A payload comes more often than this message may have it.
    #[error("more than {limit} {payload} payloads")]
    TooMany {
        /// The payload that comes too often.
        payload: PayloadType,
        /// How often it may come.
        limit: usize,
    },
    /// A payload of an exchange that is encrypted stands outside of the Encrypted payload.
    #[error("the {0} payload stands in the clear")]
    NotEncrypted(PayloadType),
    /// Of payloads that belong together the first one is there and the second is not.
    #[error("{0} comes without {1}, with which it belongs")]
    Incomplete(PayloadType, PayloadType),
}

/// How often one payload stands in one message.
struct Row {
    payload: PayloadType,
    min: usize,
    max: usize,
}

/// The payloads of one message.
struct Message {
    exchange: ExchangeType,
    direction: Direction,
    /// Whether its payloads must be encrypted.
    encrypted: bool,
    rows: &'static [Row],
    /// Payloads of which either all are there or none.
    together: &'static [PayloadType],
}

const fn row(payload: PayloadType, min: usize, max: usize) -> Row {
    Row { payload, min, max }
}

const INIT: &[Row] = &[
    row(PayloadType::SECURITY_ASSOCIATION, 1, 1),
    row(PayloadType::KEY_EXCHANGE, 1, 1),
    row(PayloadType::NONCE, 1, 1),
];

const CREATE_CHILD: &[Row] = &[
    row(PayloadType::SECURITY_ASSOCIATION, 1, 1),
    row(PayloadType::NONCE, 1, 1),
    row(PayloadType::KEY_EXCHANGE, 0, 1),
    row(PayloadType::TRAFFIC_SELECTORS_INITIATOR, 0, 1),
    row(PayloadType::TRAFFIC_SELECTORS_RESPONDER, 0, 1),
    row(PayloadType::CONFIGURATION, 0, 1),
];

const CHILD_TOGETHER: &[PayloadType] = &[
    PayloadType::SECURITY_ASSOCIATION,
    PayloadType::TRAFFIC_SELECTORS_INITIATOR,
    PayloadType::TRAFFIC_SELECTORS_RESPONDER,
];

/// The rekey of an IKE SA has no traffic selectors (RFC 7296 section 1.3.2).
const SELECTORS_TOGETHER: &[PayloadType] =
    &[PayloadType::TRAFFIC_SELECTORS_INITIATOR, PayloadType::TRAFFIC_SELECTORS_RESPONDER];

static MESSAGES: &[Message] = &[
    Message {
        exchange: ExchangeType::IKE_SA_INIT,
        direction: Direction::Request,
        encrypted: false,
        rows: INIT,
        together: &[],
    },
    Message {
        exchange: ExchangeType::IKE_SA_INIT,
        direction: Direction::Response,
        encrypted: false,
        rows: INIT,
        together: &[],
    },
    Message {
        exchange: ExchangeType::IKE_AUTH,
        direction: Direction::Request,
        encrypted: true,
        rows: &[
            row(PayloadType::IDENTIFICATION_INITIATOR, 1, 1),
            row(PayloadType::IDENTIFICATION_RESPONDER, 0, 1),
            // Absent when the initiator asks for EAP (RFC 7296 section 2.16).
            row(PayloadType::AUTHENTICATION, 0, 1),
            row(PayloadType::SECURITY_ASSOCIATION, 0, 1),
            row(PayloadType::TRAFFIC_SELECTORS_INITIATOR, 0, 1),
            row(PayloadType::TRAFFIC_SELECTORS_RESPONDER, 0, 1),
            row(PayloadType::CONFIGURATION, 0, 1),
            row(PayloadType::EAP, 0, 1),
        ],
        together: CHILD_TOGETHER,
    },
    Message {
        exchange: ExchangeType::IKE_AUTH,
        direction: Direction::Response,
        encrypted: true,
        rows: &[
            row(PayloadType::IDENTIFICATION_RESPONDER, 1, 1),
            row(PayloadType::AUTHENTICATION, 1, 1),
            row(PayloadType::SECURITY_ASSOCIATION, 0, 1),
            row(PayloadType::TRAFFIC_SELECTORS_INITIATOR, 0, 1),
            row(PayloadType::TRAFFIC_SELECTORS_RESPONDER, 0, 1),
            row(PayloadType::CONFIGURATION, 0, 1),
            row(PayloadType::EAP, 0, 1),
        ],
        together: CHILD_TOGETHER,
    },
    Message {
        exchange: ExchangeType::CREATE_CHILD_SA,
        direction: Direction::Request,
        encrypted: true,
        rows: CREATE_CHILD,
        together: SELECTORS_TOGETHER,
    },
    Message {
        exchange: ExchangeType::CREATE_CHILD_SA,
        direction: Direction::Response,
        encrypted: true,
        rows: CREATE_CHILD,
        together: SELECTORS_TOGETHER,
    },
    Message {
        exchange: ExchangeType::INFORMATIONAL,
        direction: Direction::Request,
        encrypted: true,
        rows: &[row(PayloadType::CONFIGURATION, 0, 1)],
        together: &[],
    },
    Message {
        exchange: ExchangeType::INFORMATIONAL,
        direction: Direction::Response,
        encrypted: true,
        rows: &[row(PayloadType::CONFIGURATION, 0, 1)],
        together: &[],
    },
];

/// Checks the payloads of a message against the grammar of its exchange. `encrypted` says where `payloads` stood: inside
/// the Encrypted payload, or in the clear.
///
/// # Errors
/// The first rule that does not hold.
pub fn check(
    exchange: ExchangeType,
    direction: Direction,
    encrypted: bool,
    payloads: &[Payload],
) -> Result<(), GrammarError> {
    let message = MESSAGES
        .iter()
        .find(|message| message.exchange == exchange && message.direction == direction)
        .ok_or(GrammarError::UnknownExchange(exchange))?;
    let count = |kind: PayloadType| payloads.iter().filter(|payload| payload.payload_type() == kind).count();
    let failed = direction == Direction::Response && payloads.iter().any(stands_for_failure);

    if let Some(payload) = payloads.first().filter(|_| message.encrypted && !encrypted) {
        return Err(GrammarError::NotEncrypted(payload.payload_type()));
    }
    for &Row { payload, min, max } in message.rows {
        match count(payload) {
            found if found > max => return Err(GrammarError::TooMany { payload, limit: max }),
            found if found < min && !failed => return Err(GrammarError::Missing(payload)),
            _ => {}
        }
    }
    let present = message.together.iter().find(|&&kind| count(kind) > 0);
    let absent = message.together.iter().find(|&&kind| count(kind) == 0);
    match (present, absent) {
        (Some(&present), Some(&absent)) if !failed => Err(GrammarError::Incomplete(present, absent)),
        _ => Ok(()),
    }
}

/// Whether a payload in a response stands in place of what the request asked for: an error, or the demand to ask
/// again with a cookie (RFC 7296 section 2.6) or elsewhere (RFC 5685).
fn stands_for_failure(payload: &Payload) -> bool {
    matches!(payload, Payload::Notify(notify)
        if notify.kind.is_error() || notify.kind == NotifyType::COOKIE || notify.kind == NotifyType::REDIRECT)
}

#[cfg(test)]
mod tests {
    use super::super::{Notify, TrafficSelector};
    use super::*;

    fn selectors() -> Vec<TrafficSelector> {
        vec![TrafficSelector::from_net("0.0.0.0/0".parse().unwrap())]
    }

    fn child() -> Vec<Payload> {
        vec![
            Payload::Nonce(vec![0; 16]),
            Payload::SecurityAssociation(Vec::new()),
            Payload::TrafficSelectorsResponder(selectors()),
            Payload::TrafficSelectorsInitiator(selectors()),
        ]
    }

    fn check_child(direction: Direction, payloads: &[Payload]) -> Result<(), GrammarError> {
        check(ExchangeType::CREATE_CHILD_SA, direction, true, payloads)
    }

    #[test]
    fn order_does_not_matter_and_foreign_payloads_are_ignored() {
        let mut payloads = child();
        assert_eq!(check_child(Direction::Request, &payloads), Ok(()));
        payloads.reverse();
        payloads.push(Payload::VendorId(Vec::new()));
        payloads.push(Payload::Unknown { payload_type: PayloadType(200), critical: false, body: Vec::new() });
        assert_eq!(check_child(Direction::Request, &payloads), Ok(()));
    }

    #[test]
    fn what_must_be_there_is_missed() {
        let missing_nonce = &child()[1..];
        assert_eq!(check_child(Direction::Request, missing_nonce), Err(GrammarError::Missing(PayloadType::NONCE)),);
    }

    #[test]
    fn what_stands_once_does_not_stand_twice() {
        let mut payloads = child();
        payloads.push(Payload::Nonce(vec![0; 16]));
        assert_eq!(
            check_child(Direction::Response, &payloads),
            Err(GrammarError::TooMany { payload: PayloadType::NONCE, limit: 1 }),
        );
    }

    #[test]
    fn one_selector_list_needs_the_other() {
        assert_eq!(
            check_child(Direction::Request, &child()[..3]),
            Err(GrammarError::Incomplete(
                PayloadType::TRAFFIC_SELECTORS_RESPONDER,
                PayloadType::TRAFFIC_SELECTORS_INITIATOR
            )),
        );
        // The rekey of an IKE SA has neither.
        assert_eq!(check_child(Direction::Request, &child()[..2]), Ok(()));
    }

    #[test]
    fn a_failure_may_come_alone_but_only_in_a_response() {
        let failure = [Payload::Notify(Notify::new(NotifyType::NO_PROPOSAL_CHOSEN, Vec::new()))];
        assert_eq!(check_child(Direction::Response, &failure), Ok(()));
        assert!(check_child(Direction::Request, &failure).is_err());
        let status = [Payload::Notify(Notify::new(NotifyType::INITIAL_CONTACT, Vec::new()))];
        assert!(check_child(Direction::Response, &status).is_err());
        let cookie = [Payload::Notify(Notify::new(NotifyType::COOKIE, vec![1]))];
        assert_eq!(check(ExchangeType::IKE_SA_INIT, Direction::Response, false, &cookie), Ok(()));
    }

    #[test]
    fn only_the_first_exchange_is_in_the_clear() {
        let failure = [Payload::Notify(Notify::new(NotifyType::AUTHENTICATION_FAILED, Vec::new()))];
        assert_eq!(
            check(ExchangeType::IKE_AUTH, Direction::Response, false, &failure),
            Err(GrammarError::NotEncrypted(PayloadType::NOTIFY)),
        );
        assert_eq!(check(ExchangeType::IKE_AUTH, Direction::Response, true, &failure), Ok(()));
    }

    #[test]
    fn an_empty_informational_is_a_liveness_check() {
        for direction in [Direction::Request, Direction::Response] {
            assert_eq!(check(ExchangeType::INFORMATIONAL, direction, true, &[]), Ok(()));
        }
        assert_eq!(
            check(ExchangeType(99), Direction::Request, true, &[]),
            Err(GrammarError::UnknownExchange(ExchangeType(99))),
        );
    }
}
