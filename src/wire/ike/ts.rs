//! Traffic Selector payloads (RFC 7296 section 3.13) and the arithmetic of selectors.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use ipnet::IpNet;

use super::codes::{PayloadType, TsType};
use super::cursor::{Cursor, TooLong, put_u8_length, set_u16_length};
use super::malformed::Malformed;

/// Where a selector keeps its length, and how many bytes precede its body.
const LENGTH_AT: usize = 2;
const HEADER_LEN: usize = 4;

/// Selectors of one payload at most: their count has one octet.
pub const MAX_SELECTORS: usize = u8::MAX as usize;

/// Protocol 0 stands for every protocol.
pub const ANY_PROTOCOL: u8 = 0;

/// One range of addresses, ports and protocols.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrafficSelector {
    /// An IP protocol number; 0 for any.
    pub protocol: u8,
    /// First port, or ICMP type × 256 + code. 0 to 65535 stands for any port; start 65535 with end 0 for OPAQUE: a
    /// packet whose port is not known (RFC 7296 section 3.13.1).
    pub start_port: u16,
    /// Last port, or ICMP type × 256 + code.
    pub end_port: u16,
    /// First address of the range, of the last one's family and not above it.
    pub start: IpAddr,
    /// Last address of the range.
    pub end: IpAddr,
}

impl TrafficSelector {
    /// Every packet of a network.
    pub fn from_net(net: IpNet) -> Self {
        let (start, end) = match net {
            IpNet::V4(net) => (IpAddr::V4(net.network()), IpAddr::V4(net.broadcast())),
            IpNet::V6(net) => (IpAddr::V6(net.network()), IpAddr::V6(net.broadcast())),
        };
        Self { protocol: ANY_PROTOCOL, start_port: 0, end_port: u16::MAX, start, end }
    }

    /// Every packet of one address.
    pub fn from_address(address: IpAddr) -> Self {
        Self::from_net(IpNet::from(address))
    }

    fn any_port(&self) -> bool {
        self.start_port == 0 && self.end_port == u16::MAX
    }

    fn opaque_port(&self) -> bool {
        self.start_port == u16::MAX && self.end_port == 0
    }

    /// Whether one end of a packet lies in the selector. `port` is `None` when the packet shows none: a protocol
    /// without ports, or a fragment that is not the first.
    pub fn contains(&self, address: IpAddr, protocol: u8, port: Option<u16>) -> bool {
        let port_fits = match port {
            _ if self.any_port() => true,
            Some(port) => (self.start_port..=self.end_port).contains(&port),
            None => self.opaque_port(),
        };
        let protocol_fits = self.protocol == ANY_PROTOCOL || self.protocol == protocol;
        self.contains_address(address) && protocol_fits && port_fits
    }

    /// Whether an address lies in the selector's range, whatever its protocol and ports.
    pub fn contains_address(&self, address: IpAddr) -> bool {
        self.start.is_ipv4() == address.is_ipv4() && self.start <= address && address <= self.end
    }

    /// What both selectors cover, `None` if that is nothing. This is how RFC 7296 section 2.9 narrows.
    pub fn intersect(&self, other: &Self) -> Option<Self> {
        let protocol = match (self.protocol, other.protocol) {
            (ANY_PROTOCOL, protocol) | (protocol, ANY_PROTOCOL) => protocol,
            (one, two) if one == two => one,
            _ => return None,
        };
        let (start_port, end_port) = match (self, other) {
            (this, _) if this.any_port() => (other.start_port, other.end_port),
            (_, other) if other.any_port() => (self.start_port, self.end_port),
            (this, other) if this.opaque_port() != other.opaque_port() => return None,
            (this, other) if this.opaque_port() => (other.start_port, other.end_port),
            (this, other) => {
                let (start_port, end_port) = (this.start_port.max(other.start_port), this.end_port.min(other.end_port));
                if start_port > end_port {
                    return None;
                }
                (start_port, end_port)
            }
        };
        let start = self.start.max(other.start);
        let end = self.end.min(other.end);
        let overlap = self.start.is_ipv4() == other.start.is_ipv4() && start <= end;
        overlap.then_some(Self { protocol, start_port, end_port, start, end })
    }

    /// Whether everything that `self` covers is covered by `other` too.
    pub fn is_subset(&self, other: &Self) -> bool {
        self.intersect(other) == Some(*self)
    }

    /// The network whose addresses these are, if the range is one network.
    pub fn net(&self) -> Option<IpNet> {
        let mut nets = self.nets();
        let first = nets.next()?;
        nets.next().is_none().then_some(first)
    }

    /// The fewest networks that together hold the addresses of the range.
    pub fn nets(&self) -> impl Iterator<Item = IpNet> {
        let v4 = match (self.start, self.end) {
            (IpAddr::V4(start), IpAddr::V4(end)) => Some(ipnet::Ipv4Subnets::new(start, end, 0)),
            _ => None,
        };
        let v6 = match (self.start, self.end) {
            (IpAddr::V6(start), IpAddr::V6(end)) => Some(ipnet::Ipv6Subnets::new(start, end, 0)),
            _ => None,
        };
        v4.into_iter().flatten().map(IpNet::V4).chain(v6.into_iter().flatten().map(IpNet::V6))
    }

    /// Ports as a range; `None` for OPAQUE.
    pub fn ports(&self) -> Option<RangeInclusive<u16>> {
        (!self.opaque_port()).then_some(self.start_port..=self.end_port)
    }
}

/// `10.1.0.0/16`, `10.0.0.1-10.0.0.9`, with `[protocol/ports]` behind it when it is not any.
impl std::fmt::Display for TrafficSelector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.net() {
            Some(net) => write!(f, "{net}")?,
            None => write!(f, "{}-{}", self.start, self.end)?,
        }
        if self.protocol == ANY_PROTOCOL && self.any_port() {
            return Ok(());
        }
        write!(f, "[{}", self.protocol)?;
        match self.ports() {
            None => write!(f, "/opaque")?,
            Some(_) if self.any_port() => {}
            Some(ports) if ports.start() == ports.end() => write!(f, "/{}", ports.start())?,
            Some(ports) => write!(f, "/{}-{}", ports.start(), ports.end())?,
        }
        f.write_str("]")
    }
}

/// Reads the selectors of a payload. Selectors of other types than addresses are left out: who cannot honour a
/// selector narrows it away (RFC 7296 section 2.9), so a list may come out empty. A list that is sent empty is read as
/// what it is, although a payload is to have one selector at least: either leaves nothing to agree on, which is
/// TS_UNACCEPTABLE.
pub(super) fn parse(payload: PayloadType, body: &[u8]) -> Result<Vec<TrafficSelector>, Malformed> {
    let malformed = |reason| Malformed::Payload { payload, reason };
    let mut body = Cursor::new(body);
    let [count, _, _, _] = body.array().ok_or(malformed("truncated"))?;
    let mut selectors = Vec::with_capacity(count.into());
    for _ in 0..count {
        let (kind, protocol, selector) = split_selector(&mut body).ok_or(malformed("truncated selector"))?;
        let parsed = match kind {
            TsType::IPV4_ADDR_RANGE => parse_range::<4, Ipv4Addr>(protocol, selector),
            TsType::IPV6_ADDR_RANGE => parse_range::<16, Ipv6Addr>(protocol, selector),
            _ => continue,
        };
        selectors.push(parsed.map_err(malformed)?);
    }
    if !body.is_empty() {
        return Err(malformed("the count of selectors is wrong"));
    }
    Ok(selectors)
}

fn split_selector<'a>(body: &mut Cursor<'a>) -> Option<(TsType, u8, &'a [u8])> {
    let [kind, protocol] = body.array()?;
    let length = usize::from(body.u16()?).checked_sub(HEADER_LEN)?;
    Some((TsType(kind), protocol, body.take(length)?))
}

fn parse_range<const N: usize, A>(protocol: u8, selector: &[u8]) -> Result<TrafficSelector, &'static str>
where
    A: From<[u8; N]> + Into<IpAddr>,
{
    let mut selector = Cursor::new(selector);
    let mut read = || {
        let (start_port, end_port) = (selector.u16()?, selector.u16()?);
        let (start, end) = (A::from(selector.array()?).into(), A::from(selector.array()?).into());
        selector.is_empty().then_some(TrafficSelector { protocol, start_port, end_port, start, end })
    };
    let range = read().ok_or("a selector of the wrong length")?;
    if range.start > range.end {
        return Err("a range of addresses that ends before it starts");
    }
    if range.start_port > range.end_port && !range.opaque_port() {
        return Err("a range of ports that ends before it starts");
    }
    Ok(range)
}

pub(super) fn encode(selectors: &[TrafficSelector], out: &mut Vec<u8>) -> Result<(), TooLong> {
    put_u8_length(out, selectors.len(), "traffic selectors on one side")?;
    out.extend([0, 0, 0]);
    for selector in selectors {
        let TrafficSelector { protocol, start_port, end_port, start, end } = selector;
        let begin = out.len();
        let kind = if start.is_ipv4() { TsType::IPV4_ADDR_RANGE } else { TsType::IPV6_ADDR_RANGE };
        out.extend([kind.0, *protocol, 0, 0]);
        out.extend(start_port.to_be_bytes());
        out.extend(end_port.to_be_bytes());
        for address in [start, end] {
            match address {
                IpAddr::V4(address) => out.extend(address.octets()),
                IpAddr::V6(address) => out.extend(address.octets()),
            }
        }
        set_u16_length(out, begin, LENGTH_AT, "bytes of a traffic selector")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selector(text: &str) -> TrafficSelector {
        TrafficSelector::from_net(text.parse().unwrap())
    }

    fn ports(start_port: u16, end_port: u16) -> TrafficSelector {
        TrafficSelector { protocol: 6, start_port, end_port, ..selector("10.0.0.0/8") }
    }

    fn parse_ts(body: &[u8]) -> Result<Vec<TrafficSelector>, Malformed> {
        parse(PayloadType::TRAFFIC_SELECTORS_INITIATOR, body)
    }

    const BYTES: &[u8] = &[1, 0, 0, 0, 7, 6, 0, 16, 0, 22, 0, 80, 10, 0, 0, 0, 10, 255, 255, 255];

    #[test]
    fn reads_and_writes_the_layout_of_the_rfc() {
        assert_eq!(parse_ts(BYTES), Ok(vec![ports(22, 80)]));
        let mut out = Vec::new();
        encode(&[ports(22, 80)], &mut out).unwrap();
        assert_eq!(out, BYTES);
    }

    #[test]
    fn more_selectors_than_can_be_counted_are_not_written() {
        let mut out = Vec::new();
        assert_eq!(encode(&[ports(22, 80); MAX_SELECTORS], &mut out), Ok(()));
        assert_eq!(parse_ts(&out).map(|selectors| selectors.len()), Ok(MAX_SELECTORS));
        let too_many = TooLong { what: "traffic selectors on one side", limit: MAX_SELECTORS };
        assert_eq!(encode(&[ports(22, 80); MAX_SELECTORS + 1], &mut Vec::new()), Err(too_many));
    }

    #[test]
    fn truncations_wrong_counts_and_reversed_ranges_are_refused() {
        for length in 0..BYTES.len() {
            assert!(parse_ts(&BYTES[..length]).is_err(), "{length} bytes");
        }
        for (at, value) in [(0, 0), (0, 2), (7, 15), (7, 17), (7, 3), (9, 81), (12, 11)] {
            let mut bytes = BYTES.to_vec();
            bytes[at] = value;
            assert!(parse_ts(&bytes).is_err(), "byte {at} is {value}");
        }
    }

    #[test]
    fn unknown_types_are_left_out() {
        let mut bytes = vec![2, 0, 0, 0, 10, 0, 0, 8, 1, 2, 3, 4];
        bytes.extend(&BYTES[4..]);
        assert_eq!(parse_ts(&bytes), Ok(vec![ports(22, 80)]));
        assert_eq!(parse_ts(&[1, 0, 0, 0, 10, 0, 0, 4]), Ok(Vec::new()));
    }

    #[test]
    fn a_list_of_which_nothing_is_left_can_be_written_and_read() {
        let left = parse_ts(&[1, 0, 0, 0, 10, 0, 0, 4]).unwrap();
        let mut out = Vec::new();
        encode(&left, &mut out).unwrap();
        assert_eq!(parse_ts(&out), Ok(left));
        // A count of nothing is no licence for bytes.
        assert!(parse_ts(&[&out[..], &[10, 0, 0, 4]].concat()).is_err());
    }

    #[test]
    fn opaque_ports_are_no_reversed_range() {
        let mut bytes = BYTES.to_vec();
        bytes[8..12].copy_from_slice(&[255, 255, 0, 0]);
        assert_eq!(parse_ts(&bytes), Ok(vec![ports(u16::MAX, 0)]));
    }

    #[test]
    fn contains_looks_at_family_address_protocol_and_port() {
        let address = "10.1.2.3".parse().unwrap();
        assert!(selector("10.0.0.0/8").contains(address, 17, None));
        assert!(!selector("10.0.0.0/8").contains("11.0.0.0".parse().unwrap(), 17, None));
        assert!(!selector("0.0.0.0/0").contains("::1".parse().unwrap(), 17, None));
        assert!(ports(22, 80).contains(address, 6, Some(80)));
        assert!(!ports(22, 80).contains(address, 6, Some(81)));
        assert!(!ports(22, 80).contains(address, 17, Some(80)));
        assert!(!ports(22, 80).contains(address, 6, None));
        assert!(ports(u16::MAX, 0).contains(address, 6, None));
        assert!(!ports(u16::MAX, 0).contains(address, 6, Some(0)));
    }

    #[test]
    fn intersections() {
        let cases = [
            (selector("0.0.0.0/0"), selector("10.0.0.0/8"), Some(selector("10.0.0.0/8"))),
            (selector("10.0.0.0/8"), selector("10.1.0.0/16"), Some(selector("10.1.0.0/16"))),
            (selector("10.0.0.0/16"), selector("10.1.0.0/16"), None),
            (selector("0.0.0.0/0"), selector("::/0"), None),
            (selector("10.0.0.0/8"), ports(22, 80), Some(ports(22, 80))),
            (ports(22, 80), ports(80, 443), Some(ports(80, 80))),
            (ports(22, 80), ports(81, 443), None),
            (ports(0, 0), ports(u16::MAX, u16::MAX), None),
            (ports(22, 80), ports(u16::MAX, 0), None),
            (ports(0, u16::MAX), ports(u16::MAX, 0), Some(ports(u16::MAX, 0))),
            (ports(u16::MAX, 0), ports(u16::MAX, 0), Some(ports(u16::MAX, 0))),
            (ports(22, 80), TrafficSelector { protocol: 17, ..ports(22, 80) }, None),
        ];
        for (one, two, both) in cases {
            assert_eq!(one.intersect(&two), both, "{one} and {two}");
            assert_eq!(two.intersect(&one), both, "{two} and {one}");
            assert_eq!(one.is_subset(&two), both == Some(one), "{one} in {two}");
        }
    }

    #[test]
    fn ranges_become_the_fewest_networks() {
        for text in ["0.0.0.0/0", "10.1.0.0/16", "255.255.255.255/32", "::/0", "2001:db8::/64"] {
            let net = text.parse().unwrap();
            assert_eq!(TrafficSelector::from_net(net).net(), Some(net));
        }
        let unaligned = TrafficSelector {
            start: "10.0.0.1".parse().unwrap(),
            end: "10.0.0.4".parse().unwrap(),
            ..selector("0.0.0.0/0")
        };
        assert_eq!(unaligned.net(), None);
        let nets: Vec<_> = unaligned.nets().map(|net| net.to_string()).collect();
        assert_eq!(nets, ["10.0.0.1/32", "10.0.0.2/31", "10.0.0.4/32"]);
        assert_eq!(unaligned.to_string(), "10.0.0.1-10.0.0.4");
        assert_eq!(ports(22, 22).to_string(), "10.0.0.0/8[6/22]");
        assert_eq!(ports(0, u16::MAX).to_string(), "10.0.0.0/8[6]");
    }
}
