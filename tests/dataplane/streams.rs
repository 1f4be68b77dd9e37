//! Random streams of inner packets, built and checked by an implementation of the formats that is not ours (etherparse).

use etherparse::{
    IpEcn, IpFragOffset, IpHeaders, Ipv4Header, Ipv6Extensions, Ipv6FragmentHeader, Ipv6Header, Ipv6RawExtHeader,
    NetSlice, PacketBuilder, SlicedPacket, TcpHeader, TransportSlice, ip_number,
};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// What tells flows apart: source, destination, and ports where two flows share the addresses.
pub type FlowKey = (Vec<u8>, Vec<u8>);

/// Some packets of one flow in a row, and then one that is unlike them.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    flow: usize,
    payload: u16,
    times: u8,
    last: Twist,
}

impl Step {
    /// As many equal packets of a flow in a row.
    pub fn plain(flow: usize, payload: u16, times: u8) -> Self {
        Self { flow, payload, times: times - 1, last: Twist::Nothing }
    }
}

/// How a packet differs from its neighbours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Twist {
    Nothing,
    Push,
    Finish,
    CongestionEcho,
    WindowReduced,
    Syn,
    Reset,
    Urgent,
    Gap,
    Retransmission,
    OtherAcknowledgment,
    OtherWindow,
    OtherOptions,
    NoOptions,
    OtherTimeToLive,
    OtherTrafficClass,
    OtherDontFragment,
    OtherIdentification,
    /// IPv4 options, an IPv6 extension header.
    MoreIpHeader,
    BadTransportChecksum,
    BadIpChecksum,
    NoUdpChecksum,
    FirstFragment,
    LaterFragment,
    TrailingBytes,
    Truncated,
    Icmp,
}

const TWISTS: &[Twist] = &[
    Twist::Nothing,
    Twist::Push,
    Twist::Finish,
    Twist::CongestionEcho,
    Twist::WindowReduced,
    Twist::Syn,
    Twist::Reset,
    Twist::Urgent,
    Twist::Gap,
    Twist::Retransmission,
    Twist::OtherAcknowledgment,
    Twist::OtherWindow,
    Twist::OtherOptions,
    Twist::NoOptions,
    Twist::OtherTimeToLive,
    Twist::OtherTrafficClass,
    Twist::OtherDontFragment,
    Twist::OtherIdentification,
    Twist::MoreIpHeader,
    Twist::BadTransportChecksum,
    Twist::BadIpChecksum,
    Twist::NoUdpChecksum,
    Twist::FirstFragment,
    Twist::LaterFragment,
    Twist::TrailingBytes,
    Twist::Truncated,
    Twist::Icmp,
];

/// A flow and where it is.
#[derive(Debug, Clone, Copy)]
struct Flow {
    ipv6: bool,
    tcp: bool,
    dont_fragment: bool,
    /// The last byte of both addresses, and the source port.
    host: u8,
    port: u16,
    sequence: u32,
    identification: u16,
    datagram: u8,
}

/// The first two share their addresses.
fn flows() -> Vec<Flow> {
    let flow = |ipv6, tcp, dont_fragment, host: u8, port| {
        let (sequence, identification) = (u32::MAX - 3000 * u32::from(host), u16::MAX - u16::from(host));
        Flow { ipv6, tcp, dont_fragment, host, port, sequence, identification, datagram: 0 }
    };
    vec![
        flow(false, true, true, 1, 1000),
        flow(false, true, true, 1, 1001),
        flow(false, true, false, 2, 1000),
        flow(true, true, true, 3, 1000),
        flow(false, false, true, 4, 1000),
        flow(false, false, false, 5, 1000),
        flow(true, false, true, 6, 1000),
    ]
}

/// Steps of a stream.
pub fn steps() -> impl Strategy<Value = Vec<Step>> {
    let payload = prop_oneof![5 => Just(1200u16), 2 => Just(100), 2 => 0..1400u16, 1 => 0..3u16];
    let last = prop_oneof![3 => Just(Twist::Nothing), 2 => prop::sample::select(TWISTS)];
    let step = (0..flows().len(), payload, 0..8u8, last).prop_map(|(flow, payload, times, last)| Step {
        flow,
        payload,
        times,
        last,
    });
    prop::collection::vec(step, 1..40)
}

/// The packets of a stream.
pub fn packets(steps: &[Step]) -> Vec<Vec<u8>> {
    let mut flows = flows();
    let mut packets = Vec::new();
    for step in steps {
        let flow = &mut flows[step.flow];
        packets.extend((0..step.times).map(|_| flow.packet(step.payload, Twist::Nothing)));
        // What hides the ports would leave the flows that share their addresses without a key.
        let hides = matches!(
            step.last,
            Twist::MoreIpHeader | Twist::FirstFragment | Twist::LaterFragment | Twist::Truncated | Twist::Icmp
        );
        let last = if hides && flow.host == 1 { Twist::Nothing } else { step.last };
        packets.push(flow.packet(step.payload, last));
    }
    packets
}

impl Flow {
    fn packet(&mut self, payload: u16, twist: Twist) -> Vec<u8> {
        self.identification = self.identification.wrapping_add(if twist == Twist::OtherIdentification { 7 } else { 1 });
        self.datagram = self.datagram.wrapping_add(1);
        let payload: Vec<u8> = (0..payload).map(|n| n as u8 ^ self.datagram).collect();
        let builder = PacketBuilder::ip(self.ip(twist));
        let mut packet = Vec::new();
        let (destination, size) = (5201, payload.len());
        if twist == Twist::Icmp && self.ipv6 {
            builder.icmpv6_echo_request(1, 2).write_to_vec(&mut packet, &payload)
        } else if twist == Twist::Icmp {
            builder.icmpv4_echo_request(1, 2).write_to_vec(&mut packet, &payload)
        } else if self.tcp {
            builder.tcp_header(self.tcp(destination, size, twist)).write_to_vec(&mut packet, &payload)
        } else {
            builder.udp(self.port, destination).write_to_vec(&mut packet, &payload)
        }
        .expect("headers that fit");
        let transport = if self.ipv6 { 40 } else { 20 };
        match twist {
            Twist::BadTransportChecksum => packet[transport + if self.tcp { 17 } else { 7 }] ^= 0x10,
            Twist::BadIpChecksum if !self.ipv6 => packet[10] ^= 0x01,
            Twist::NoUdpChecksum if !self.tcp && !self.ipv6 => packet[26..28].fill(0),
            Twist::TrailingBytes => packet.extend([1, 2, 3]),
            Twist::Truncated => packet.truncate(packet.len() - packet.len() / 4),
            _ => {}
        }
        packet
    }

    fn ip(&self, twist: Twist) -> IpHeaders {
        let hops = if twist == Twist::OtherTimeToLive { 9 } else { 64 };
        let ecn = if twist == Twist::OtherTrafficClass { IpEcn::CongestionExperienced } else { IpEcn::Ect0 };
        let last_fragment = IpFragOffset::try_new(100).expect("13 bits");
        if self.ipv6 {
            let address = |site| [0xfd, 0, 0, site, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, self.host];
            let header = Ipv6Header {
                traffic_class: ecn.value(),
                hop_limit: hops,
                source: address(2),
                destination: address(1),
                ..Default::default()
            };
            let mut extensions = Ipv6Extensions::default();
            let next = if self.tcp { ip_number::TCP } else { ip_number::UDP };
            let fragment = |offset, more| Ipv6FragmentHeader::new(next, offset, more, 77);
            match twist {
                Twist::MoreIpHeader => {
                    let padding = [1, 4, 0, 0, 0, 0];
                    extensions.hop_by_hop_options = Ipv6RawExtHeader::new_raw(next, &padding).ok();
                }
                Twist::FirstFragment => extensions.fragment = Some(fragment(IpFragOffset::default(), true)),
                Twist::LaterFragment => extensions.fragment = Some(fragment(last_fragment, false)),
                _ => {}
            }
            return IpHeaders::Ipv6(header, extensions);
        }
        let options: &[u8] = if twist == Twist::MoreIpHeader { &[1; 4] } else { &[] };
        let header = Ipv4Header {
            ecn,
            identification: self.identification,
            dont_fragment: self.dont_fragment != (twist == Twist::OtherDontFragment),
            more_fragments: twist == Twist::FirstFragment,
            fragment_offset: if twist == Twist::LaterFragment { last_fragment } else { IpFragOffset::default() },
            time_to_live: hops,
            source: [10, 2, 0, self.host],
            destination: [10, 1, 0, self.host],
            options: options.try_into().expect("a multiple of four"),
            ..Default::default()
        };
        IpHeaders::Ipv4(header, Default::default())
    }

    fn tcp(&mut self, destination: u16, size: usize, twist: Twist) -> TcpHeader {
        match twist {
            Twist::Gap => self.sequence = self.sequence.wrapping_add(1448),
            Twist::Retransmission => self.sequence = self.sequence.wrapping_sub(size as u32),
            _ => {}
        }
        let mut header = TcpHeader::new(self.port, destination, self.sequence, 500);
        self.sequence = self.sequence.wrapping_add(size as u32);
        header.ack = twist != Twist::Syn;
        header.acknowledgment_number = if twist == Twist::OtherAcknowledgment { 2 } else { 1 };
        header.syn = twist == Twist::Syn;
        header.rst = twist == Twist::Reset;
        header.psh = twist == Twist::Push;
        header.fin = twist == Twist::Finish;
        header.ece = twist == Twist::CongestionEcho;
        header.cwr = twist == Twist::WindowReduced;
        header.urg = twist == Twist::Urgent;
        header.urgent_pointer = u16::from(header.urg);
        header.window_size = if twist == Twist::OtherWindow { 501 } else { 500 };
        // Two NOPs and a timestamp, as most segments have.
        let echoed = if twist == Twist::OtherOptions { 8 } else { 7 };
        let options = [1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, echoed];
        let options: &[u8] = if twist == Twist::NoOptions { &[] } else { &options };
        header.set_options_raw(options).expect("12 bytes");
        header
    }
}

/// The flow of a packet; `None` for what no stream of ours holds.
pub fn flow_key(packet: &[u8]) -> Option<FlowKey> {
    let (addresses, shared, transport) = match packet.first()? >> 4 {
        4 => (packet.get(12..20)?, packet[19] == 1, 20),
        _ => (packet.get(8..40)?, false, 40),
    };
    let ours = matches!(addresses, [10, 2, 0, _, 10, 1, 0, _]) || addresses.starts_with(&[0xfd, 0, 0, 2]);
    let ports = if shared { packet.get(transport..transport + 4)? } else { &[] };
    ours.then(|| (addresses.to_vec(), ports.to_vec()))
}

/// The packets of each flow in order, as they may be compared: without the identification where DF is set, which then means
/// nothing (RFC 6864 section 4.1).
pub fn by_flow<'a>(packets: impl IntoIterator<Item = &'a [u8]>) -> BTreeMap<FlowKey, Vec<Vec<u8>>> {
    let mut flows: BTreeMap<FlowKey, Vec<Vec<u8>>> = BTreeMap::new();
    for packet in packets {
        if let Some(key) = flow_key(packet) {
            flows.entry(key).or_default().push(without_identification(packet));
        }
    }
    flows
}

fn without_identification(packet: &[u8]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    if let Ok((header, _)) = Ipv4Header::from_slice(&packet)
        && header.dont_fragment
        && header.header_checksum == header.calc_header_checksum()
    {
        packet[4..6].fill(0);
        packet[10..12].fill(0);
    }
    packet
}

/// Holds the checksums of a whole packet of TCP or UDP against those that etherparse computes.
pub fn checksums_hold(packet: &[u8]) -> bool {
    let sliced = SlicedPacket::from_ip(packet).expect("a packet");
    match (sliced.net.expect("an IP header"), sliced.transport.expect("a transport header")) {
        (NetSlice::Ipv4(ip), TransportSlice::Tcp(tcp)) => {
            let header = ip.header().to_header();
            let (source, destination) = (header.source, header.destination);
            header.header_checksum == header.calc_header_checksum()
                && tcp.calc_checksum_ipv4(source, destination).expect("a length of IPv4") == tcp.checksum()
        }
        (NetSlice::Ipv4(ip), TransportSlice::Udp(udp)) => {
            let header = ip.header().to_header();
            header.header_checksum == header.calc_header_checksum()
                && udp.to_header().calc_checksum_ipv4(&header, udp.payload()).expect("a length of IPv4")
                    == udp.checksum()
        }
        (NetSlice::Ipv6(ip), TransportSlice::Tcp(tcp)) => {
            let header = ip.header().to_header();
            let (source, destination) = (header.source, header.destination);
            tcp.calc_checksum_ipv6(source, destination).expect("a length of IPv6") == tcp.checksum()
        }
        (NetSlice::Ipv6(ip), TransportSlice::Udp(udp)) => {
            let header = ip.header().to_header();
            udp.to_header().calc_checksum_ipv6(&header, udp.payload()).expect("a length of IPv6") == udp.checksum()
        }
        other => panic!("neither TCP nor UDP: {other:?}"),
    }
}
