//! IKE datagrams that arrived among the ESP packets, on their way to IKE: two bounded queues of bytes.
//!
//! Requests that open a new IKE SA (responder SPI zero) have a queue of their own, so that a flood of them cannot starve
//! the liveness checks and rekeys of peers that are known.

use super::outer_header::OuterPath;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// Bytes of each queue, record headers included.
pub const QUEUE_BYTES: usize = 512 * 1024;
/// The largest datagram that the queue takes.
pub const MAX_DATAGRAM: usize = 65_507;
/// Bytes before each datagram: two addresses with family, and the length.
const RECORD_HEADER: usize = 2 * (1 + 16 + 2) + 2;
/// The longest request that opens an IKE SA, which anybody may send.
pub const MAX_INITIAL: usize = 4 << 10;
/// A longer datagram leaves half of its queue to others.
const LARGE: usize = 16 << 10;
/// The responder's SPI in an IKE header.
const RESPONDER_SPI: std::ops::Range<usize> = 8..16;

/// The inbound loop's end of both queues.
#[derive(Debug)]
pub struct IkeQueueWriter {
    initial: rtrb::Producer<u8>,
    established: rtrb::Producer<u8>,
}

/// IKE's end of both queues.
#[derive(Debug)]
pub struct IkeQueueReader {
    initial: rtrb::Consumer<u8>,
    established: rtrb::Consumer<u8>,
}

/// Why a datagram did not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueFull {
    /// The queue of requests that open an IKE SA.
    Initial,
    /// The other one.
    Established,
    /// The datagram is larger than a request that opens an IKE SA may be.
    TooLarge,
}

/// Both ends of the queues.
pub fn ike_queue() -> (IkeQueueWriter, IkeQueueReader) {
    let (initial, initial_reader) = rtrb::RingBuffer::new(QUEUE_BYTES);
    let (established, established_reader) = rtrb::RingBuffer::new(QUEUE_BYTES);
    (
        IkeQueueWriter { initial, established },
        IkeQueueReader { initial: initial_reader, established: established_reader },
    )
}

impl IkeQueueWriter {
    /// Queues one datagram, its non-ESP marker removed.
    ///
    /// # Errors
    /// When it is too large, or its queue has no room; the datagram is to be dropped.
    pub fn push(&mut self, path: OuterPath, datagram: &[u8]) -> Result<(), QueueFull> {
        let initial = datagram.get(RESPONDER_SPI).is_none_or(|spi| spi.iter().all(|byte| *byte == 0));
        if initial && datagram.len() > MAX_INITIAL {
            return Err(QueueFull::TooLarge);
        }
        let (ring, full) = if initial {
            (&mut self.initial, QueueFull::Initial)
        } else {
            (&mut self.established, QueueFull::Established)
        };
        let left_free = if datagram.len() > LARGE { QUEUE_BYTES / 2 } else { 0 };
        if datagram.len() > MAX_DATAGRAM || ring.slots() < RECORD_HEADER + datagram.len() + left_free {
            return Err(full);
        }
        let header = encode(path, datagram.len());
        ring.push_entire_slice(&header).map_err(|_| full)?;
        ring.push_entire_slice(datagram).map_err(|_| full)
    }
}

impl IkeQueueReader {
    /// Takes the next datagram into `buffer`, known peers first. `None` when both queues are empty.
    ///
    /// A record is read only once it is there whole.
    pub fn pop(&mut self, buffer: &mut Vec<u8>) -> Option<OuterPath> {
        pop_from(&mut self.established, buffer).or_else(|| pop_from(&mut self.initial, buffer))
    }

    /// Takes the next datagram of a known peer into `buffer`.
    pub fn pop_established(&mut self, buffer: &mut Vec<u8>) -> Option<OuterPath> {
        pop_from(&mut self.established, buffer)
    }

    /// Takes the next request that opens an IKE SA into `buffer`.
    pub fn pop_initial(&mut self, buffer: &mut Vec<u8>) -> Option<OuterPath> {
        pop_from(&mut self.initial, buffer)
    }
}

fn pop_from(ring: &mut rtrb::Consumer<u8>, buffer: &mut Vec<u8>) -> Option<OuterPath> {
    let mut header = [0; RECORD_HEADER];
    for (to, from) in header.iter_mut().zip(ring.read_chunk(RECORD_HEADER).ok()?) {
        *to = from;
    }
    let (path, len) = decode(&header)?;
    // The writer commits the header before the datagram: wait for the rest, it is a few instructions away.
    while ring.slots() < len && !ring.is_abandoned() {
        std::hint::spin_loop();
    }
    buffer.clear();
    let chunk = ring.read_chunk(len).ok()?;
    let (first, second) = chunk.as_slices();
    buffer.extend_from_slice(first);
    buffer.extend_from_slice(second);
    chunk.commit_all();
    Some(path)
}

fn encode(path: OuterPath, len: usize) -> [u8; RECORD_HEADER] {
    let mut header = [0; RECORD_HEADER];
    let (addresses, length) = header.split_at_mut(RECORD_HEADER - 2);
    for (record, address) in addresses.chunks_exact_mut(19).zip([path.local, path.peer]) {
        record[0] = u8::from(address.is_ipv4());
        let bits = match address.ip() {
            IpAddr::V4(address) => u128::from(address.to_bits()),
            IpAddr::V6(address) => address.to_bits(),
        };
        record[1..17].copy_from_slice(&bits.to_be_bytes());
        record[17..].copy_from_slice(&address.port().to_be_bytes());
    }
    length.copy_from_slice(&(len as u16).to_be_bytes());
    header
}

fn decode(header: &[u8; RECORD_HEADER]) -> Option<(OuterPath, usize)> {
    let address = |record: &[u8]| {
        let bits = u128::from_be_bytes(record.get(1..17)?.try_into().ok()?);
        let ip = match record.first()? {
            1 => IpAddr::V4((bits as u32).into()),
            _ => IpAddr::V6(Ipv6Addr::from_bits(bits)),
        };
        Some(SocketAddr::new(ip, u16::from_be_bytes(record.get(17..19)?.try_into().ok()?)))
    };
    let path = OuterPath { local: address(&header[..19])?, peer: address(&header[19..38])? };
    Some((path, usize::from(u16::from_be_bytes([header[38], header[39]]))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(local: &str, peer: &str) -> OuterPath {
        OuterPath { local: local.parse().unwrap(), peer: peer.parse().unwrap() }
    }

    fn datagram(responder_spi: u8, len: usize) -> Vec<u8> {
        let mut datagram = vec![7; len];
        datagram[RESPONDER_SPI].fill(responder_spi);
        datagram
    }

    #[test]
    fn datagrams_and_their_addresses_come_back_whole() {
        let (mut writer, mut reader) = ike_queue();
        let v4 = path("192.0.2.1:4500", "198.51.100.9:61000");
        let v6 = path("[2001:db8::1]:4500", "[2001:db8::2]:4500");
        writer.push(v4, &datagram(1, 28)).unwrap();
        writer.push(v6, &datagram(2, 1400)).unwrap();
        let mut buffer = Vec::new();
        assert_eq!(reader.pop(&mut buffer), Some(v4));
        assert_eq!(buffer, datagram(1, 28));
        assert_eq!(reader.pop(&mut buffer), Some(v6));
        assert_eq!(buffer, datagram(2, 1400));
        assert_eq!(reader.pop(&mut buffer), None);
    }

    #[test]
    fn a_flood_of_first_requests_leaves_room_for_known_peers() {
        let (mut writer, mut reader) = ike_queue();
        let path = path("192.0.2.1:4500", "198.51.100.9:4500");
        let flood = std::iter::repeat_with(|| writer.push(path, &datagram(0, 500))).take_while(Result::is_ok).count();
        assert!(flood > 900, "the queue takes a burst of {flood}");
        assert_eq!(writer.push(path, &datagram(0, 500)), Err(QueueFull::Initial));
        writer.push(path, &datagram(9, 80)).unwrap();
        let mut buffer = Vec::new();
        assert_eq!(reader.pop(&mut buffer), Some(path));
        assert_eq!(buffer, datagram(9, 80), "the known peer is served first");
    }

    #[test]
    fn large_datagrams_leave_room_and_large_first_requests_are_not_taken() {
        let (mut writer, mut reader) = ike_queue();
        let path = path("192.0.2.1:4500", "198.51.100.9:4500");
        assert_eq!(writer.push(path, &datagram(0, MAX_INITIAL + 1)), Err(QueueFull::TooLarge));
        writer.push(path, &datagram(0, MAX_INITIAL)).unwrap();
        let taken =
            std::iter::repeat_with(|| writer.push(path, &datagram(9, 50_000))).take_while(Result::is_ok).count();
        assert!((3..=5).contains(&taken), "{taken}");
        let small = std::iter::repeat_with(|| writer.push(path, &datagram(9, 80))).take_while(Result::is_ok).count();
        assert!(small > 2000, "{small}");
        let mut buffer = Vec::new();
        assert_eq!((reader.pop(&mut buffer), buffer.len()), (Some(path), 50_000));
    }

    #[test]
    fn what_is_too_short_to_name_a_responder_counts_as_initial() {
        let (mut writer, mut reader) = ike_queue();
        let path = path("192.0.2.1:4500", "198.51.100.9:4500");
        writer.push(path, &[1, 2, 3]).unwrap();
        let mut buffer = Vec::new();
        assert_eq!(reader.pop_established(&mut buffer), None);
        assert_eq!(reader.pop_initial(&mut buffer), Some(path));
        assert_eq!(buffer, [1, 2, 3]);
    }
}
