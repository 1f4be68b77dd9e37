//! Single elements of the sets of our nftables table, by netlink: `nft` reads a whole set before it changes one element.
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket};
use tokio::time::timeout;

use crate::io::netns::Namespace;
use crate::routing::AddressRange;

/// The name of the table. There is one gatewayd in a namespace, as there is one port 500.
pub const TABLE: &str = "gatewayd";
/// The sets of protected addresses, and whether each is one of IPv4.
pub(super) const SETS: [(&str, bool); 2] = [("protected_ipv4", true), ("protected_ipv6", false)];

// linux/netlink.h
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_CREATE: u16 = 0x400;
const NLA_F_NESTED: u16 = 0x8000;
const NLMSG_ERROR: u16 = 2;
/// Length of a message's header.
const HEADER: usize = 16;
// linux/netfilter/nfnetlink.h, nf_tables.h
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const SUBSYSTEM: u16 = 10;
const NEW_ELEMENTS: u16 = (SUBSYSTEM << 8) | 12;
const DELETE_ELEMENTS: u16 = (SUBSYSTEM << 8) | 14;
/// `NFPROTO_INET`, the family of the table.
const FAMILY_INET: u8 = 1;
const LIST_TABLE: u16 = 1;
const LIST_SET: u16 = 2;
const LIST_ELEMENTS: u16 = 3;
const LIST_ELEMENT: u16 = 1;
const ELEMENT_KEY: u16 = 1;
const ELEMENT_FLAGS: u16 = 3;
const DATA_VALUE: u16 = 1;
/// The element is the first address behind a range.
const INTERVAL_END: u32 = 1;

/// Ranges that one change may name at most: what a batch and one attribute hold (64 KiB), and a socket's buffer takes.
pub(super) const AT_MOST: usize = 256;

/// How long the kernel has for its answer, which it gives before the call returns.
const TIME: Duration = Duration::from_secs(1);

/// A socket for changes of elements in one namespace, opened when it is needed. It is kept open: to close one, the kernel
/// waits for some 10 ms until elements that were taken out before are freed (`nft_rcv_nl_event`).
#[derive(Default)]
pub struct ElementSocket(Option<Opened>);

struct Opened {
    socket: TokioSocket,
    /// Its number, by which the kernel tells who made a change.
    port: u32,
    /// The namespace that it is in.
    identity: u64,
}

impl ElementSocket {
    /// The number of the socket while it is open; nobody else in the namespace has it as long. Changes that the kernel tells
    /// of with it were made here.
    pub fn port(&self) -> Option<u32> {
        self.0.as_ref().map(|opened| opened.port)
    }

    /// Takes ranges out of the sets of protected addresses and puts others in, all of them or none.
    ///
    /// # Errors
    /// The kernel refused: the sets are not what they were believed to be.
    pub(super) async fn change(
        &mut self,
        namespace: &Namespace,
        gone: &[AddressRange],
        new: &[AddressRange],
    ) -> io::Result<()> {
        let (batch, answers) = batch(gone, new);
        let identity = namespace.identity()?;
        // One on which answers may be missing is not used again.
        let opened = match self.0.take().filter(|opened| opened.identity == identity) {
            Some(opened) => opened,
            None => open(namespace, identity)?,
        };
        let talk = async {
            let socket = &opened.socket;
            socket.send_to(&batch, &SocketAddr::new(0, 0)).await?;
            let mut acknowledged = 0;
            while acknowledged < answers {
                let (messages, _) = socket.recv_from_full().await?;
                acknowledged += acknowledgements(&messages)?;
            }
            io::Result::Ok(())
        };
        timeout(TIME, talk).await??;
        self.0 = Some(opened);
        Ok(())
    }
}

fn open(namespace: &Namespace, identity: u64) -> io::Result<Opened> {
    let runtime = tokio::runtime::Handle::current();
    namespace.run(|| {
        let _inside = runtime.enter();
        let mut socket = TokioSocket::new(NETLINK_NETFILTER)?;
        let port = socket.socket_mut().bind_auto()?.port_number();
        io::Result::Ok(Opened { socket, port, identity })
    })?
}

/// The batch, and how many of its messages are acknowledged.
fn batch(gone: &[AddressRange], new: &[AddressRange]) -> (Vec<u8>, usize) {
    let (mut batch, mut answers) = (Vec::new(), 0);
    message(&mut batch, BATCH_BEGIN, NLM_F_REQUEST, (0, SUBSYSTEM), |_| {});
    for (kind, flags, ranges) in [(DELETE_ELEMENTS, 0, gone), (NEW_ELEMENTS, NLM_F_CREATE, new)] {
        for (set, is_ipv4) in SETS {
            let of_family = || ranges.iter().filter(|range| range.first.is_ipv4() == is_ipv4);
            if of_family().next().is_none() {
                continue;
            }
            answers += 1;
            message(&mut batch, kind, NLM_F_REQUEST | NLM_F_ACK | flags, (FAMILY_INET, 0), |to| {
                attribute(to, LIST_TABLE, |to| text(to, TABLE));
                attribute(to, LIST_SET, |to| text(to, set));
                attribute(to, LIST_ELEMENTS | NLA_F_NESTED, |to| of_family().for_each(|range| elements(to, range)));
            });
        }
    }
    message(&mut batch, BATCH_END, NLM_F_REQUEST, (0, SUBSYSTEM), |_| {});
    (batch, answers)
}

/// A range: its first address, and the first one behind it unless it reaches to the end of all.
fn elements(to: &mut Vec<u8>, range: &AddressRange) {
    element(to, &octets(range.first), 0);
    if let Some(behind) = next(range.last) {
        element(to, &octets(behind), INTERVAL_END);
    }
}

fn element(to: &mut Vec<u8>, key: &[u8], flags: u32) {
    attribute(to, LIST_ELEMENT | NLA_F_NESTED, |to| {
        attribute(to, ELEMENT_KEY | NLA_F_NESTED, |to| attribute(to, DATA_VALUE, |to| to.extend(key)));
        if flags != 0 {
            attribute(to, ELEMENT_FLAGS, |to| to.extend(flags.to_be_bytes()));
        }
    });
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn next(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(address) => u32::from(address).checked_add(1).map(|next| IpAddr::V4(next.into())),
        IpAddr::V6(address) => u128::from(address).checked_add(1).map(|next| IpAddr::V6(next.into())),
    }
}

fn text(to: &mut Vec<u8>, text: &str) {
    to.extend(text.as_bytes());
    to.push(0);
}

/// A netlink message with nfnetlink's own header: family, version 0, resource.
fn message(to: &mut Vec<u8>, kind: u16, flags: u16, (family, resource): (u8, u16), fill: impl FnOnce(&mut Vec<u8>)) {
    let start = to.len();
    to.extend([0; 4]);
    to.extend(kind.to_ne_bytes());
    to.extend(flags.to_ne_bytes());
    // Sequence number and port.
    to.extend([0; 8]);
    to.extend([family, 0]);
    to.extend(resource.to_be_bytes());
    fill(to);
    let length = (to.len() - start) as u32;
    to[start..start + 4].copy_from_slice(&length.to_ne_bytes());
}

/// An attribute, padded to four bytes.
fn attribute(to: &mut Vec<u8>, kind: u16, fill: impl FnOnce(&mut Vec<u8>)) {
    let start = to.len();
    to.extend([0; 2]);
    to.extend(kind.to_ne_bytes());
    fill(to);
    // `AT_MOST` ranges take less than 64 KiB.
    let length = (to.len() - start) as u16;
    to[start..start + 2].copy_from_slice(&length.to_ne_bytes());
    to.resize(to.len().next_multiple_of(4), 0);
}

/// How many messages of a batch a datagram acknowledges.
fn acknowledgements(mut messages: &[u8]) -> io::Result<usize> {
    let mut count = 0;
    while let Some((header, rest)) = messages.split_at_checked(HEADER) {
        let length = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let kind = u16::from_ne_bytes([header[4], header[5]]);
        if kind == NLMSG_ERROR {
            let Some(code) = rest.first_chunk::<4>() else { break };
            match i32::from_ne_bytes(*code) {
                0 => count += 1,
                error => return Err(io::Error::from_raw_os_error(-error)),
            }
        }
        let Some(next) = messages.get(length.next_multiple_of(4).max(HEADER)..) else { break };
        messages = next;
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first: &str, last: &str) -> AddressRange {
        AddressRange { first: first.parse().unwrap(), last: last.parse().unwrap() }
    }

    #[test]
    fn a_range_is_its_first_address_and_the_first_one_behind() {
        let mut one = Vec::new();
        elements(&mut one, &range("10.0.0.0", "10.0.0.255"));
        assert_eq!(one.len(), (4 + 4 + 4 + 4) + (4 + 4 + 4 + 4 + 8));
        assert_eq!(&one[12..16], [10, 0, 0, 0]);
        assert_eq!((&one[28..32], &one[36..40]), (&[10, 0, 1, 0][..], &[0, 0, 0, 1][..]));
        let mut last = Vec::new();
        elements(&mut last, &range("224.0.0.0", "255.255.255.255"));
        assert_eq!(last.len(), 16, "there is nothing behind it");
    }

    #[test]
    fn a_batch_is_between_its_ends_and_the_largest_fits() {
        let ranges = vec![range("fd00::1", "fd00::2"); AT_MOST];
        let (whole, answers) = batch(&ranges, &[range("10.0.0.0", "10.0.0.1"), range("fd00::", "fd00::")]);
        assert_eq!(answers, 3);
        let mut kinds = Vec::new();
        let mut rest = &whole[..];
        while !rest.is_empty() {
            let length = u32::from_ne_bytes(*rest.first_chunk().unwrap()) as usize;
            kinds.push(u16::from_ne_bytes([rest[4], rest[5]]));
            rest = &rest[length..];
        }
        assert_eq!(kinds, [BATCH_BEGIN, DELETE_ELEMENTS, NEW_ELEMENTS, NEW_ELEMENTS, BATCH_END]);
        let attribute = u16::from_ne_bytes([whole[20 + 20 + 16 + 20], whole[20 + 20 + 16 + 21]]);
        assert!(usize::from(attribute) > AT_MOST * 60, "its length did not wrap: {attribute}");
    }

    #[test]
    fn a_refusal_is_an_error() {
        let answer = |code: i32| {
            let mut message = Vec::new();
            message.extend(36u32.to_ne_bytes());
            message.extend(NLMSG_ERROR.to_ne_bytes());
            message.extend([0; 10]);
            message.extend(code.to_ne_bytes());
            message.extend([0; 16]);
            message
        };
        assert_eq!(acknowledgements(&[answer(0), answer(0)].concat()).unwrap(), 2);
        let refused = acknowledgements(&[answer(0), answer(-libc::ENOENT)].concat()).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::ENOENT));
    }
}
