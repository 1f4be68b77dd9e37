//! Connections for the tests of what is shown.

use crate::control::Owner;
use crate::control::status::{
    Association, ChildSa, ChildState, Connection, ConnectionState, IkeState, Status, Traffic,
};

/// One that is down, with an error.
pub fn down() -> Connection {
    Connection {
        name: "branch".into(),
        description: None,
        owner: Owner::File,
        state: ConnectionState::Down,
        ike_state: IkeState::IkeSaNotEstablished,
        child_state: ChildState::IpsecSaNotEstablished,
        peer: "203.0.113.9".into(),
        peer_address: None,
        local_address: None,
        path_mtu: None,
        left_out: Vec::new(),
        local_id: "gw.example.com".into(),
        peer_id: "203.0.113.9".into(),
        start: "now".into(),
        associations: Vec::new(),
        ike_sa: None,
        child_sas: Vec::new(),
        inbound: Traffic::default(),
        outbound: Traffic::default(),
        last_error: Some("AUTHENTICATION_FAILED: the peer refused our key".into()),
        next_attempt_seconds: Some(75),
    }
}

/// A connection with so many peers, each with one Child SA.
pub fn with_peers(count: u64) -> Connection {
    let association = |id| Association {
        id,
        peer_id: format!("warrior-{id}.example"),
        peer_address: format!("198.51.100.7:{}", 20_000 + id).parse().unwrap(),
        age_seconds: 60,
        ike_sas: Vec::new(),
        inbound: Traffic { packets: 2, bytes: 168, errors: 3, idle_seconds: None },
        outbound: Traffic::default(),
    };
    let child = |id| ChildSa {
        name: "net".into(),
        association: id,
        inbound_spi: format!("{id:08x}"),
        outbound_spi: "00000000".into(),
        algorithms: "aes128gcm16".into(),
        encapsulation: "udp".into(),
        local_selectors: vec!["10.1.0.0/16".into()],
        peer_selectors: vec![format!("10.64.0.{id}/32")],
        sending: true,
        age_seconds: 60,
        rekey_seconds: None,
        inbound: Traffic::default(),
        outbound: Traffic::default(),
    };
    let (associations, child_sas) = (1..=count).map(|id| (association(id), child(id))).unzip();
    Connection { state: ConnectionState::Established, last_error: None, associations, child_sas, ..down() }
}

/// A status with these connections and nothing else.
pub fn status(connections: Vec<Connection>) -> Status {
    Status {
        version: "0.0.0".into(),
        uptime_seconds: 60,
        device: "gwd0".into(),
        mtu: 1500,
        cend_revision: None,
        connections,
        routes: Vec::new(),
        drops: Default::default(),
        congestion_marks: 0,
        warnings: Vec::new(),
        exemptions: Vec::new(),
        closed_local_subnets: Vec::new(),
    }
}
