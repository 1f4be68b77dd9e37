//! A pair of SAs as the model of the data path has it.

use std::net::IpAddr;
use std::sync::Arc;

use ipsec_gateway::ike::Path;
use ipsec_gateway::wire::ike::TrafficSelector;

use crate::network::Flow;
use crate::setup::inner_address;

/// One pair of SAs in the data path.
#[derive(Debug, Clone)]
pub struct Pair {
    pub child: Arc<str>,
    /// The end that it leads to, by the traffic selectors.
    pub far: usize,
    pub local_selectors: Vec<TrafficSelector>,
    pub peer_selectors: Vec<TrafficSelector>,
    pub inbound_spi: u32,
    pub inbound_key: Vec<u8>,
    pub outbound_spi: u32,
    pub outbound_key: Vec<u8>,
    /// Whether it may be sent on, and since when, in the order of such decisions.
    pub active: Option<u64>,
    /// Only its inbound SA is left.
    pub retired: bool,
    pub path: Path,
    /// Its path does not answer.
    pub silent: bool,
    pub seen: bool,
}

impl Pair {
    /// Whether a packet that leaves lies within its traffic selectors.
    pub fn covers(&self, flow: Flow) -> bool {
        self.hold(inner_address(flow.from, flow.child), inner_address(flow.to, flow.child))
    }

    /// Whether a packet that arrives does.
    pub fn admits(&self, flow: Flow) -> bool {
        self.hold(inner_address(flow.to, flow.child), inner_address(flow.from, flow.child))
    }

    fn hold(&self, local: IpAddr, remote: IpAddr) -> bool {
        let any = |selectors: &[TrafficSelector], address| {
            selectors.iter().any(|selector| selector.contains_address(address))
        };
        any(&self.local_selectors, local) && any(&self.peer_selectors, remote)
    }
}
