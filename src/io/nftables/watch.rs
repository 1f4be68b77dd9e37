//! Hearing of what others change in our nftables table.
use std::io;

use futures_util::FutureExt;
use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{AsyncSocket, AsyncSocketExt, TokioSocket};

use crate::io::netns::Namespace;

/// Multicast group of nftables' changes (`NFNLGRP_NFTABLES`, linux/netfilter/nfnetlink.h).
const GROUP_NFTABLES: u32 = 7;
/// Length of a netlink message's header (netlink(7)).
const MESSAGE_HEADER: usize = 16;
/// Where in it the number of the socket is that the change was asked for on.
const MESSAGE_PORT: usize = 12;
/// Length of nfnetlink's own header, which follows it (`struct nfgenmsg`).
const NFNETLINK_HEADER: usize = 4;
/// Length of an attribute's header.
const ATTRIBUTE_HEADER: usize = 4;
/// The attribute that names the table. It has this number in the messages about tables, chains, rules, sets, their
/// elements and named objects alike (linux/netfilter/nf_tables.h).
const ATTRIBUTE_TABLE: u16 = 1;
/// The upper bits of an attribute's type are flags (`NLA_TYPE_MASK`).
const TYPE_MASK: u16 = 0x3fff;

/// A socket on which the kernel tells every change of every nftables table in one namespace.
pub struct TableChanges {
    socket: TokioSocket,
}

impl TableChanges {
    /// Starts to listen in `namespace`, on the runtime of the caller.
    ///
    /// # Errors
    /// The namespace cannot be entered, the socket not be opened, or the kernel has no nftables.
    pub fn listen(namespace: &Namespace) -> io::Result<Self> {
        let runtime = tokio::runtime::Handle::current();
        let socket = namespace.run(|| {
            let _inside = runtime.enter();
            let mut socket = TokioSocket::new(NETLINK_NETFILTER)?;
            socket.socket_mut().bind_auto()?;
            socket.socket_mut().add_membership(GROUP_NFTABLES)?;
            io::Result::Ok(socket)
        })??;
        Ok(TableChanges { socket })
    }

    /// Waits for the next change of the table `name`, of any family, that was not asked for on the socket `ours`. Also
    /// returns when the kernel had more news than the socket could hold, because one of those may have been about it.
    ///
    /// # Errors
    /// The socket is of no use any more.
    pub async fn next(&self, name: &str, ours: Option<u32>) -> io::Result<()> {
        loop {
            match self.socket.recv_from_full().await {
                Ok((messages, _)) if concerns(&messages, name, ours) => return Ok(()),
                Ok(_) => {}
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Takes what the kernel has told already. Says whether some of it was, or may have been, about a change of the table
    /// `name` that was not asked for on the socket `ours`.
    ///
    /// # Errors
    /// The socket is of no use any more.
    pub fn take(&self, name: &str, ours: Option<u32>) -> io::Result<bool> {
        let mut about = false;
        while let Some(told) = self.socket.recv_from_full().now_or_never() {
            match told {
                Ok((messages, _)) => about |= concerns(&messages, name, ours),
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => about = true,
                Err(error) => return Err(error),
            }
        }
        Ok(about)
    }
}

/// Whether one of the messages of a datagram is about the table and not about a change that was asked for on the socket
/// `ours`.
fn concerns(mut messages: &[u8], name: &str, ours: Option<u32>) -> bool {
    while let Some(length) = number_at(messages, 0).and_then(|length| usize::try_from(length).ok()) {
        let Some(message) = messages.get(..length).filter(|message| message.len() >= MESSAGE_HEADER) else {
            return false;
        };
        let attributes = message.get(MESSAGE_HEADER + NFNETLINK_HEADER..).unwrap_or_default();
        let is_ours = ours.is_some() && number_at(message, MESSAGE_PORT) == ours;
        if !is_ours && table(attributes).is_some_and(|table| table == name.as_bytes()) {
            return true;
        }
        messages = messages.get(aligned(length)..).unwrap_or_default();
    }
    false
}

/// The table that a message's attributes name.
fn table(mut attributes: &[u8]) -> Option<&[u8]> {
    loop {
        let header = attributes.get(..ATTRIBUTE_HEADER)?;
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let value = attributes.get(ATTRIBUTE_HEADER..length)?;
        if u16::from_ne_bytes([header[2], header[3]]) & TYPE_MASK == ATTRIBUTE_TABLE {
            return value.strip_suffix(&[0]);
        }
        attributes = attributes.get(aligned(length)..)?;
    }
}

fn number_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|number| u32::from_ne_bytes(*number))
}

/// Netlink aligns messages and attributes to four bytes.
fn aligned(length: usize) -> usize {
    length.next_multiple_of(4)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = (ATTRIBUTE_HEADER + value.len()) as u16;
        let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn message(attributes: &[Vec<u8>]) -> Vec<u8> {
        let body = attributes.concat();
        let length = (MESSAGE_HEADER + NFNETLINK_HEADER + body.len()) as u32;
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.resize(MESSAGE_HEADER + NFNETLINK_HEADER, 0);
        bytes.extend(body);
        bytes
    }

    #[test]
    fn a_change_of_our_table_is_found_among_others() {
        let other = message(&[attribute(2, b"x\0"), attribute(1, b"firewalld\0")]);
        let ours = message(&[attribute(3, &[0; 8]), attribute(0x8000 | ATTRIBUTE_TABLE, b"gatewayd\0")]);
        assert!(concerns(&[other.clone(), ours].concat(), "gatewayd", None));
        assert!(!concerns(&other, "gatewayd", None));
        let generation = message(&[attribute(1, &7u32.to_be_bytes())]);
        assert!(!concerns(&generation, "gatewayd", None));
    }

    #[test]
    fn a_change_that_was_asked_for_here_is_no_news() {
        let change = |port: u32| {
            let mut change = message(&[attribute(ATTRIBUTE_TABLE, b"gatewayd\0")]);
            change[MESSAGE_PORT..MESSAGE_HEADER].copy_from_slice(&port.to_ne_bytes());
            change
        };
        assert!(!concerns(&[change(7), change(7)].concat(), "gatewayd", Some(7)));
        assert!(concerns(&[change(7), change(8)].concat(), "gatewayd", Some(7)), "somebody else's is among them");
        assert!(concerns(&change(0), "gatewayd", None), "the kernel's own change");
        assert!(concerns(&change(7), "gatewayd", None), "the socket is not there any more");
    }

    proptest! {
        #[test]
        fn no_bytes_confuse_it(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            concerns(&bytes, "gatewayd", Some(7));
        }
    }
}
