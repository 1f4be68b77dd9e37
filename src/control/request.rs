//! Every request of the control API in one place: its method and its path. gatewayd's router and all clients use it.

use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::action::{Action, Rekeyed};

/// What may stand unescaped in one segment of a path (RFC 3986, unreserved).
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A request, with the parts of its path. Bodies are the callers' concern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Everything that runs: [`Status`](super::status::Status).
    Status,
    /// The same of one connection and its routes, without a look at the others.
    StatusOf {
        /// Its name, unescaped.
        name: String,
    },
    /// The connections: a list of [`Connection`](super::status::Connection).
    Connections,
    /// The VPN gateway's route table: a list of [`Route`](super::route::Route).
    Routes,
    /// Does something with one connection: [`Accepted`](super::action::Accepted).
    Connection {
        /// Its name, unescaped.
        name: String,
        /// What is to be done.
        action: Action,
    },
    /// Rekeys SAs of one connection: [`Accepted`](super::action::Accepted).
    Rekey {
        /// Its name, unescaped.
        name: String,
        /// Which of them.
        which: Rekeyed,
    },
    /// What the peer of a connection has to be told: [`ConnectionExport`](super::export::ConnectionExport).
    Export {
        /// The connection's name, unescaped.
        name: String,
    },
    /// Reads the configuration file again: [`Reloaded`](super::reload::Reloaded).
    Reload,
    /// What happens from now on: server-sent events, each an [`Event`](super::event::Event).
    Events,
    /// The same, of one connection and of what concerns all, or with what has happened before.
    EventsOf {
        /// The connection's name, unescaped; without one, of all.
        name: Option<String>,
        /// From when on, as far as gatewayd remembers it; without it, from now on.
        since: Option<Timestamp>,
    },
    /// Replaces cend's set with an [`OwnerSet`](super::owner::OwnerSet): [`OwnerReply`](super::owner::OwnerReply).
    PutOwner,
    /// Changes cend's set by an [`OwnerChange`](super::owner_change::OwnerChange):
    /// [`OwnerReply`](super::owner::OwnerReply).
    PatchOwner,
    /// What became of cend's set: [`OwnerReply`](super::owner::OwnerReply).
    Owner,
}

/// The method of an HTTP request (RFC 9110 section 9.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Reads.
    Get,
    /// Asks for something to be done.
    Post,
    /// Replaces a whole set.
    Put,
    /// Changes a part of one (RFC 5789).
    Patch,
}

impl Request {
    /// The HTTP method that it is made with.
    pub fn method(&self) -> Method {
        match self {
            Self::Status
            | Self::StatusOf { .. }
            | Self::Connections
            | Self::Routes
            | Self::Export { .. }
            | Self::Events
            | Self::EventsOf { .. }
            | Self::Owner => Method::Get,
            Self::Connection { .. } | Self::Rekey { .. } | Self::Reload => Method::Post,
            Self::PutOwner => Method::Put,
            Self::PatchOwner => Method::Patch,
        }
    }

    /// The path on the control socket, escaped.
    pub fn path(&self) -> String {
        match self {
            Self::Status => "/v1/status".to_owned(),
            Self::StatusOf { name } => format!("/v1/status?connection={}", segment(name)),
            Self::Connections => "/v1/connections".to_owned(),
            Self::Routes => "/v1/routes".to_owned(),
            Self::Connection { name, action } => format!("/v1/connections/{}/{}", segment(name), action.name()),
            Self::Rekey { name, which } => {
                let query = match which {
                    Rekeyed::All => String::new(),
                    Rekeyed::Ike => "?sa=ike".to_owned(),
                    Rekeyed::Child(child) => format!("?child={}", segment(child)),
                };
                format!("/v1/connections/{}/rekey{query}", segment(name))
            }
            Self::Export { name } => format!("/v1/connections/{}/export", segment(name)),
            Self::Reload => "/v1/reload".to_owned(),
            Self::Events => "/v1/events".to_owned(),
            Self::EventsOf { name, since } => {
                let name = name.as_ref().map(|name| format!("connection={}", segment(name)));
                let since = since.map(|since| format!("since={}", segment(&since.to_string())));
                format!("/v1/events?{}", name.into_iter().chain(since).collect::<Vec<_>>().join("&"))
            }
            Self::PutOwner | Self::PatchOwner | Self::Owner => "/v1/owners/cend".to_owned(),
        }
    }
}

fn segment(text: &str) -> impl std::fmt::Display {
    utf8_percent_encode(text, SEGMENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_segment_whatever_it_holds() {
        let request = Request::Connection { name: "branch/1 north".to_owned(), action: Action::Rekey };
        assert_eq!(request.path(), "/v1/connections/branch%2F1%20north/rekey");
        assert_eq!(request.method(), Method::Post);
        let child = Rekeyed::Child("a&b".to_owned());
        let request = Request::Rekey { name: "idc".to_owned(), which: child };
        assert_eq!(
            (request.path().as_str(), request.method()),
            ("/v1/connections/idc/rekey?child=a%26b", Method::Post)
        );
    }
}
