//! Failed negotiations on their way to the log. Those that somebody can cause who has not authenticated are told a few at a
//! time, and counted beyond that, before anything is made of them.

use std::time::{Duration, Instant};

use crate::daemon::foreign_text;
use crate::daemon::throttle::{More, Throttle};
use crate::ike::{Failure, Refusal};
use crate::wire::ike::ExchangeType;

/// What strangers can make fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unauthenticated {
    Proposal,
    Proof,
    Request,
    Keys,
}

impl Unauthenticated {
    fn of(failure: &Failure) -> Option<Self> {
        match failure {
            Failure::Refused(Refusal::IkeProposal { .. }) => Some(Self::Proposal),
            Failure::NotProven(_) => Some(Self::Proof),
            Failure::MalformedRequest { exchange: ExchangeType::IKE_AUTH, .. } => Some(Self::Request),
            Failure::Keys(_) => Some(Self::Keys),
            _ => None,
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Proposal => "no common IKE proposal",
            Self::Proof => "authentication failed",
            Self::Request => "malformed IKE_AUTH request",
            Self::Keys => "keys could not be derived",
        }
    }
}

/// Failures of strangers that were told, and how many were not.
#[derive(Debug, Default)]
pub struct Failures(Throttle<Unauthenticated>);

impl Failures {
    /// What is to be told of a failure, if anything is.
    pub fn reason(&mut self, failure: &Failure, now: Instant) -> Option<String> {
        let tells = Unauthenticated::of(failure).is_none_or(|kind| self.0.tells(kind, now));
        tells.then(|| foreign_text::line(failure))
    }

    /// What was not told, how often, and in which time until now, when it is time to say so.
    pub fn more(&mut self, now: Instant) -> impl Iterator<Item = (&'static str, u64, Duration)> + use<> {
        self.0.more(now).into_iter().map(|More { kind, count, period }| (kind.text(), count, period))
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, SocketAddr};

    use super::*;
    use crate::ike::AuthenticationError;
    use crate::wire::ike::Identification;

    const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 500);

    #[test]
    fn thousands_of_strangers_are_a_few_short_lines_and_a_number() {
        let (mut failures, now) = (Failures::default(), Instant::now());
        let failure = Failure::NotProven(AuthenticationError::UnknownIdentity {
            claimed: Identification::KeyId(vec![7; 30_000]),
            expected: vec!["somebody.example".to_owned()],
        });
        let told: Vec<_> = (0..5132).filter_map(|_| failures.reason(&failure, now)).collect();
        assert!((1..=8).contains(&told.len()), "{}", told.len());
        for reason in &told {
            assert!(reason.len() <= 512 && reason.contains("somebody.example"), "{reason}");
        }
        // What an authenticated peer or this end fails at is always told.
        let own = Failure::NoAnswer(PEER);
        assert!((0..100).all(|_| failures.reason(&own, now).is_some()));
        assert!(failures.more(now + Duration::from_secs(4)).next().is_none());
        let more: Vec<_> = failures.more(now + Duration::from_secs(5)).collect();
        let [("authentication failed", count, _)] = more[..] else { panic!("{more:?}") };
        assert_eq!(count + told.len() as u64, 5132);
    }
}
