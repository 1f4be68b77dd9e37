//! The tunnel of an IPsec-VPN connection as calls describe it: with `IkeConfig` and `IpsecConfig`, which hold JSON, or
//! with one `TunnelOptionsSpecification`, whose fields stand apart.

use std::str::FromStr;

use super::parameter::Kind::{Always, Boolean, Json, Structure, Structures, Text, Word};
use super::parameter::{Parameter, ignored, optional, refused};
use super::rpc::Parameters;
use crate::cen::command::{IkeParameters, IpsecParameters};
use crate::cen::error::ApiError;
use crate::cen::vpn::PreSharedKey;
use crate::crypto::cloud_name::{ENCRYPTION_WORDS, GROUP_WORDS, INTEGRITY_WORDS, PFS_WORDS, UnknownWord};

const IKE: &[Parameter] = &[
    optional("Psk", Text),
    optional("IkeVersion", Word(&["ikev1", "ikev2"])),
    optional("IkeMode", Word(&["main", "aggressive"])),
    optional("IkeEncAlg", Word(ENCRYPTION_WORDS)),
    optional("IkeAuthAlg", Word(INTEGRITY_WORDS)),
    optional("IkePfs", Word(GROUP_WORDS)),
    optional("IkeLifetime", Text),
    optional("LocalId", Text),
    optional("RemoteId", Text),
];
const IPSEC: &[Parameter] = &[
    optional("IpsecEncAlg", Word(ENCRYPTION_WORDS)),
    optional("IpsecAuthAlg", Word(INTEGRITY_WORDS)),
    optional("IpsecPfs", Word(PFS_WORDS)),
    optional("IpsecLifetime", Text),
];
const TUNNEL: &[Parameter] = &[
    CUSTOMER_GATEWAY,
    optional("TunnelId", Text),
    optional("Role", Word(&["master", "slave"])),
    ENABLE_DPD,
    ENABLE_NAT_TRAVERSAL,
    optional("TunnelIkeConfig", Structure(IKE)),
    optional("TunnelIpsecConfig", Structure(IPSEC)),
    refused("TunnelBgpConfig"),
    REMOTE_CA_CERTIFICATE,
];
/// Health checks are not simulated: what they would look at is of no use.
const HEALTH_CHECK: &[Parameter] = &[
    optional("enable", Always(false)),
    optional("Enable", Always(false)),
    ignored("sip", Text),
    ignored("Sip", Text),
    ignored("dip", Text),
    ignored("Dip", Text),
    ignored("interval", Text),
    ignored("Interval", Text),
    ignored("retry", Text),
    ignored("Retry", Text),
    ignored("Policy", Text),
];
const BGP: &[Parameter] = &[
    optional("EnableBgp", Always(false)),
    ignored("LocalAsn", Text),
    ignored("TunnelCidr", Text),
    ignored("LocalBgpIp", Text),
    ignored("AuthKey", Text),
];

/// The rows that create and modify a connection share.
pub(super) const CUSTOMER_GATEWAY: Parameter = optional("CustomerGatewayId", Text);
pub(super) const ENABLE_DPD: Parameter = optional("EnableDpd", Boolean);
pub(super) const ENABLE_NAT_TRAVERSAL: Parameter = optional("EnableNatTraversal", Boolean);
pub(super) const IKE_CONFIG: Parameter = optional("IkeConfig", Json(IKE));
pub(super) const IPSEC_CONFIG: Parameter = optional("IpsecConfig", Json(IPSEC));
pub(super) const HEALTH_CHECK_CONFIG: Parameter = optional("HealthCheckConfig", Json(HEALTH_CHECK));
pub(super) const BGP_CONFIG: Parameter = optional("BgpConfig", Json(BGP));
pub(super) const ENABLE_TUNNELS_BGP: Parameter = optional("EnableTunnelsBgp", Always(false));
pub(super) const REMOTE_CA_CERTIFICATE: Parameter = refused("RemoteCaCertificate");
pub(super) const SPECIFICATION: Parameter = optional("TunnelOptionsSpecification", Structures(TUNNEL, 2));

/// What a call says about a connection's tunnel; `None` where it says nothing.
#[derive(Debug, Default)]
pub struct TunnelOptions {
    /// `CustomerGatewayId`, of the tunnel or of the connection.
    pub customer_gateway: Option<String>,
    /// Names the tunnel in a modification.
    pub tunnel_id: Option<String>,
    /// `EnableDpd`, of the tunnel or of the connection.
    pub dead_peer_detection: Option<bool>,
    /// `EnableNatTraversal`, of the tunnel or of the connection.
    pub nat_traversal: Option<bool>,
    /// Phase 1: `TunnelIkeConfig` of the tunnel, or `IkeConfig` of the connection.
    pub ike: IkeParameters,
    /// Phase 2: `TunnelIpsecConfig` of the tunnel, or `IpsecConfig` of the connection.
    pub ipsec: IpsecParameters,
}

impl TunnelOptions {
    /// Reads either form. A connection has one tunnel here: a second one is refused.
    ///
    /// # Errors
    /// `Invalid<Name>`; a valid request for something that this cloud lacks says so.
    pub fn of(parameters: &Parameters) -> Result<Self, ApiError> {
        match parameters.structures("TunnelOptionsSpecification").as_slice() {
            [] => Self::top_level(parameters),
            [tunnel] => Self::specification(parameters, tunnel),
            _ => Err(one_tunnel(parameters)),
        }
    }

    fn top_level(parameters: &Parameters) -> Result<Self, ApiError> {
        Ok(Self {
            customer_gateway: parameters.text("CustomerGatewayId").map(str::to_owned),
            tunnel_id: None,
            dead_peer_detection: parameters.boolean("EnableDpd")?,
            nat_traversal: parameters.boolean("EnableNatTraversal")?,
            ike: parameters.json("IkeConfig")?.map(|fields| ike(&fields)).transpose()?.unwrap_or_default(),
            ipsec: parameters.json("IpsecConfig")?.map(|fields| ipsec(&fields)).transpose()?.unwrap_or_default(),
        })
    }

    fn specification(parameters: &Parameters, tunnel: &Parameters) -> Result<Self, ApiError> {
        // Two descriptions of one tunnel: neither may win silently.
        for name in ["IkeConfig", "IpsecConfig"] {
            if parameters.text(name).is_some() {
                return Err(parameters.invalid(name));
            }
        }
        let both = (parameters.text("CustomerGatewayId"), tunnel.text("CustomerGatewayId"));
        if matches!(both, (Some(one), Some(other)) if one != other) {
            return Err(parameters.invalid("CustomerGatewayId"));
        }
        if tunnel.text("Role") == Some("slave") {
            return Err(one_tunnel(parameters));
        }
        let either = |name: &str| tunnel.boolean(name)?.map_or_else(|| parameters.boolean(name), |flag| Ok(Some(flag)));
        Ok(Self {
            customer_gateway: both.1.or(both.0).map(str::to_owned),
            tunnel_id: tunnel.text("TunnelId").map(str::to_owned),
            dead_peer_detection: either("EnableDpd")?,
            nat_traversal: either("EnableNatTraversal")?,
            ike: ike(&tunnel.structure("TunnelIkeConfig"))?,
            ipsec: ipsec(&tunnel.structure("TunnelIpsecConfig"))?,
        })
    }
}

fn one_tunnel(parameters: &Parameters) -> ApiError {
    let invalid = parameters.invalid("TunnelOptionsSpecification");
    ApiError { message: format!("{} A connection has one tunnel here, the master.", invalid.message).into(), ..invalid }
}

fn ike(fields: &Parameters) -> Result<IkeParameters, ApiError> {
    Ok(IkeParameters {
        psk: text(fields, "Psk").map(PreSharedKey::new),
        version: text(fields, "IkeVersion"),
        mode: text(fields, "IkeMode"),
        encryption: word(fields, "IkeEncAlg")?,
        authentication: word(fields, "IkeAuthAlg")?,
        group: word(fields, "IkePfs")?,
        lifetime: fields.parsed("IkeLifetime")?,
        local_id: text(fields, "LocalId"),
        remote_id: text(fields, "RemoteId"),
    })
}

fn ipsec(fields: &Parameters) -> Result<IpsecParameters, ApiError> {
    Ok(IpsecParameters {
        encryption: word(fields, "IpsecEncAlg")?,
        authentication: word(fields, "IpsecAuthAlg")?,
        pfs: word(fields, "IpsecPfs")?,
        lifetime: fields.parsed("IpsecLifetime")?,
    })
}

/// An algorithm. The refusal names what the API has.
fn word<T: FromStr<Err = UnknownWord>>(fields: &Parameters, name: &str) -> Result<Option<T>, ApiError> {
    let refused = |unknown: UnknownWord| {
        let refusal = fields.invalid(name);
        ApiError { message: format!("{} {unknown}", refusal.message).into(), ..refusal }
    };
    fields.text(name).map(str::parse).transpose().map_err(refused)
}

fn text(fields: &Parameters, name: &str) -> Option<String> {
    fields.text(name).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::super::{ACTIONS, validation::check};
    use super::*;
    use crate::crypto::CloudPfs;

    fn options(query: &str) -> Result<TunnelOptions, ApiError> {
        let mut parameters = Parameters::parse(query.as_bytes()).unwrap();
        let row = ACTIONS.iter().copied().flatten().find(|row| row.name == "ModifyVpnConnectionAttribute").unwrap();
        let rest = check(&row.parameters[2..], &mut parameters);
        rest.and_then(|()| TunnelOptions::of(&parameters))
    }

    #[test]
    fn json_numbers_may_be_numbers_or_text() {
        for lifetime in ["3600", "%223600%22"] {
            let query =
                format!("CustomerGatewayId=cgw-1&EnableDpd=False&IkeConfig=%7B%22IkeLifetime%22%3A{lifetime}%7D");
            let options = options(&query).unwrap();
            assert_eq!(options.ike.lifetime, Some(3600));
            assert_eq!(options.dead_peer_detection, Some(false));
            assert_eq!((options.nat_traversal, options.customer_gateway.as_deref()), (None, Some("cgw-1")));
        }
    }

    #[test]
    fn one_tunnel_specification_says_the_same_as_the_top_level() {
        let tunnel = "TunnelOptionsSpecification.1.";
        let query = format!(
            "{tunnel}CustomerGatewayId=cgw-1&{tunnel}Role=master&{tunnel}EnableDpd=false\
             &{tunnel}TunnelIkeConfig.Psk=k&{tunnel}TunnelIkeConfig.IkeLifetime=60\
             &{tunnel}TunnelIpsecConfig.IpsecPfs=disabled"
        );
        let options = options(&query).unwrap();
        assert_eq!(options.customer_gateway.as_deref(), Some("cgw-1"));
        assert_eq!(options.ike.psk.as_ref().map(PreSharedKey::expose), Some("k"));
        assert_eq!((options.ike.lifetime, options.ipsec.pfs), (Some(60), Some(CloudPfs::Disabled)));
        assert_eq!(options.dead_peer_detection, Some(false));
    }

    #[test]
    fn what_is_not_supported_is_refused() {
        let specification = "InvalidTunnelOptionsSpecification";
        for (query, code) in [
            ("TunnelOptionsSpecification.1.Role=master&TunnelOptionsSpecification.2.Role=slave", specification),
            ("TunnelOptionsSpecification.1.Role=slave", specification),
            (
                "TunnelOptionsSpecification.1.TunnelBgpConfig.LocalAsn=1",
                "InvalidTunnelOptionsSpecification.1.TunnelBgpConfig",
            ),
            ("TunnelOptionsSpecification.1.Role=master&IkeConfig=%7B%7D", "InvalidIkeConfig"),
            ("EnableTunnelsBgp=true", "InvalidEnableTunnelsBgp"),
            ("BgpConfig=%7B%22EnableBgp%22%3A%22true%22%7D", "InvalidBgpConfig.EnableBgp"),
            ("HealthCheckConfig=%7B%22enable%22%3Atrue%7D", "InvalidHealthCheckConfig.enable"),
            ("RemoteCaCertificate=x", "InvalidRemoteCaCertificate"),
            ("IkeConfig=%7B%22IkeEncAlgo%22%3A%22aes%22%7D", "InvalidIkeConfig.IkeEncAlgo"),
            ("IkeConfig=%7B%22IkeEncAlg%22%3A%22aes512%22%7D", "InvalidIkeConfig.IkeEncAlg"),
            ("IkeConfig=%7B%22IkePfs%22%3A%22group15%22%7D", "InvalidIkeConfig.IkePfs"),
            ("IkeConfig=%7B%22IkePfs%22%3A%22disabled%22%7D", "InvalidIkeConfig.IkePfs"),
            ("IpsecConfig=%7B%22IpsecPfs%22%3A%22group15%22%7D", "InvalidIpsecConfig.IpsecPfs"),
            ("IkeConfig=aes", "InvalidIkeConfig"),
            ("IkeConfig=%7B%22IkeLifetime%22%3A-1%7D", "InvalidIkeConfig.IkeLifetime"),
        ] {
            assert_eq!(options(query).unwrap_err().code, code, "{query}");
        }
        let refusal = options("IpsecConfig=%7B%22IpsecAuthAlg%22%3A%22sha3%22%7D").unwrap_err();
        assert!(refusal.message.ends_with("It may be md5, sha1, sha256, sha384, sha512."), "{refusal}");
        assert!(options("HealthCheckConfig=%7B%22enable%22%3Afalse%7D&EnableTunnelsBgp=False").is_ok());
    }
}
