//! Segmentation of a super-packet that the kernel left whole: one read of the TUN, as many packets as the network takes.
//!
//! What a network card would do, done here because every packet has to be sealed: each segment gets the headers of the
//! super-packet with its own length, identification, sequence number, flags and checksums.

use crate::wire::checksum::Checksum;
use crate::wire::field::{set_word, word};
use crate::wire::ip::{IPV4_HEADER_LEN, IPV6_HEADER_LEN, ipv4_field, ipv6_field};
use crate::wire::virtio_net::{PartialChecksum, Segmentation, VirtioNetHeader};
use crate::wire::{tcp, udp};
use std::ops::Range;

/// Bytes of headers that a super-packet may have: the longest of IPv4 and TCP, and then some IPv6 extension headers.
const MAX_HEADER_LEN: usize = 256;

/// The header before a packet and the packet contradict each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a super-packet contradicts its description")]
pub struct NotSegmentable;

/// Takes a super-packet apart, one segment a call.
#[derive(Debug)]
pub struct Segmenter {
    /// The headers of every segment, with zeros where segments differ.
    header: [u8; MAX_HEADER_LEN],
    header_len: usize,
    transport: usize,
    is_ipv4: bool,
    is_tcp: bool,
    /// Payload of each segment but the last.
    segment: usize,
    payload_len: usize,
    done: usize,
    /// Of the first segment.
    identification: u16,
    sequence: u32,
    flags: u8,
    /// Over `header`: its IPv4 part, and its transport part with the pseudo header but for the length.
    ip_sum: Checksum,
    transport_sum: Checksum,
}

impl Segmenter {
    /// For a super-packet and what the device said of it.
    ///
    /// # Errors
    /// When the two do not fit together.
    pub fn new(description: &VirtioNetHeader, packet: &[u8]) -> Result<Self, NotSegmentable> {
        let is_tcp = description.segmentation != Segmentation::Udp;
        let PartialChecksum { start, offset } = description.checksum.ok_or(NotSegmentable)?;
        let (transport, segment) = (usize::from(start), usize::from(description.segment));
        let is_ipv4 = match packet.first().map(|first| first >> 4) {
            Some(4) if description.segmentation != Segmentation::TcpIpv6 => true,
            Some(6) if description.segmentation != Segmentation::TcpIpv4 => false,
            _ => return Err(NotSegmentable),
        };
        let shortest = if is_ipv4 { IPV4_HEADER_LEN } else { IPV6_HEADER_LEN };
        let body = packet.get(transport..).ok_or(NotSegmentable)?;
        let transport_header = if is_tcp { tcp::header_len(body) } else { Some(udp::HEADER_LEN) };
        let header_len = transport + transport_header.ok_or(NotSegmentable)?;
        let field = if is_tcp { tcp::CHECKSUM } else { udp::CHECKSUM };
        if transport < shortest
            || usize::from(offset) != field.start
            || header_len > MAX_HEADER_LEN
            || header_len >= packet.len()
            || segment == 0
        {
            return Err(NotSegmentable);
        }
        let mut header = [0; MAX_HEADER_LEN];
        header[..header_len].copy_from_slice(&packet[..header_len]);
        let mut segmenter = Self {
            header,
            header_len,
            transport,
            is_ipv4,
            is_tcp,
            segment,
            payload_len: packet.len() - header_len,
            done: 0,
            identification: 0,
            sequence: 0,
            flags: 0,
            ip_sum: Checksum::default(),
            transport_sum: Checksum::default(),
        };
        segmenter.blank();
        Ok(segmenter)
    }

    /// Takes out of the headers what differs from segment to segment, and sums up the rest.
    fn blank(&mut self) {
        let header = &mut self.header[..self.header_len];
        let (ip, transport) = header.split_at_mut(self.transport);
        if self.is_ipv4 {
            take(ip, ipv4_field::TOTAL_LENGTH);
            self.identification = take(ip, ipv4_field::IDENTIFICATION);
            take(ip, ipv4_field::CHECKSUM);
            self.ip_sum = Checksum::default().add_bytes(ip);
        } else {
            take(ip, ipv6_field::PAYLOAD_LENGTH);
        }
        // The kernel left the sum of the pseudo header in the field, with the length of the whole.
        let whole = (transport.len() + self.payload_len) as u16;
        let pseudo_header = if self.is_tcp {
            let [high, low] = [tcp::SEQUENCE.start, tcp::SEQUENCE.start + 2].map(|at| take(transport, at..at + 2));
            self.sequence = u32::from(high) << 16 | u32::from(low);
            self.flags = std::mem::take(&mut transport[tcp::FLAGS]);
            take(transport, tcp::CHECKSUM)
        } else {
            take(transport, udp::LENGTH);
            take(transport, udp::CHECKSUM)
        };
        self.transport_sum = Checksum::default().add_word(pseudo_header).remove_word(whole).add_bytes(transport);
    }

    /// Bytes of the next segment; `None` after the last.
    pub fn next_len(&self) -> Option<usize> {
        let rest = self.payload_len - self.done;
        (rest > 0).then(|| self.header_len + rest.min(self.segment))
    }

    /// How many segments there are from the next one on.
    pub fn left(&self) -> usize {
        (self.payload_len - self.done).div_ceil(self.segment)
    }

    /// Leaves the next segment out, as if it were lost behind the device.
    pub fn skip(&mut self) {
        self.done = self.payload_len.min(self.done + self.segment);
    }

    /// Writes the next segment of `packet`, the same as before, into `out`, which is [`next_len`](Self::next_len) long.
    ///
    /// # Panics
    /// When it is not, or `packet` is another: mistakes of the caller.
    pub fn write_next(&mut self, packet: &[u8], out: &mut [u8]) {
        let (header, payload) = out.split_at_mut(self.header_len);
        let from = self.header_len + self.done;
        header.copy_from_slice(&self.header[..self.header_len]);

        let (ip, transport) = header.split_at_mut(self.transport);
        let length = (transport.len() + payload.len()) as u16;
        if self.is_ipv4 {
            let identification = self.identification.wrapping_add((self.done / self.segment) as u16);
            let total = ip.len() as u16 + length;
            set_word(ip, ipv4_field::TOTAL_LENGTH, total);
            set_word(ip, ipv4_field::IDENTIFICATION, identification);
            set_word(ip, ipv4_field::CHECKSUM, self.ip_sum.add_word(total).add_word(identification).finish());
        } else {
            set_word(ip, ipv6_field::PAYLOAD_LENGTH, (self.transport - IPV6_HEADER_LEN) as u16 + length);
        }
        let sum = self.transport_sum.add_word(length).add_bytes_copied(&packet[from..from + payload.len()], payload);
        if self.is_tcp {
            let sequence = self.sequence.wrapping_add(self.done as u32);
            let flags = self.flags_here(self.done + payload.len() == self.payload_len);
            transport[tcp::SEQUENCE].copy_from_slice(&sequence.to_be_bytes());
            transport[tcp::FLAGS] = flags;
            let sum = sum.add_word((sequence >> 16) as u16).add_word(sequence as u16).add_word(u16::from(flags));
            set_word(transport, tcp::CHECKSUM, sum.finish());
        } else {
            set_word(transport, udp::LENGTH, length);
            set_word(transport, udp::CHECKSUM, never_zero(sum.add_word(length).finish()));
        }
        self.done += payload.len();
    }

    /// FIN and PSH belong to the last segment, CWR to the first (RFC 3168 section 6.1.2).
    fn flags_here(&self, last: bool) -> u8 {
        let mut flags = self.flags;
        if !last {
            flags &= !(tcp::flag::FIN | tcp::flag::PSH);
        }
        if self.done > 0 {
            flags &= !tcp::flag::CWR;
        }
        flags
    }
}

/// Completes the checksum of a packet that the kernel left to the device.
///
/// # Errors
/// When the field does not lie in the packet; it is unchanged.
pub fn complete_checksum(packet: &mut [u8], partial: PartialChecksum) -> Result<(), NotSegmentable> {
    let body = packet.get_mut(usize::from(partial.start)..).ok_or(NotSegmentable)?;
    let field = usize::from(partial.offset)..usize::from(partial.offset) + 2;
    if body.len() < field.end {
        return Err(NotSegmentable);
    }
    // The field holds the sum of the pseudo header, so it is part of what is summed.
    let checksum = Checksum::default().add_bytes(body).finish();
    set_word(body, field.clone(), if field == udp::CHECKSUM { never_zero(checksum) } else { checksum });
    Ok(())
}

/// In UDP zero means that there is no checksum; its other form stands for the sum (RFC 768).
fn never_zero(checksum: u16) -> u16 {
    if checksum == 0 { 0xffff } else { checksum }
}

/// Reads a word and leaves zeros.
fn take(bytes: &mut [u8], field: Range<usize>) -> u16 {
    let value = word(bytes, field.clone());
    set_word(bytes, field, 0);
    value
}

#[cfg(test)]
mod tests;
