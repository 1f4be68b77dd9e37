//! From the file's tables to a configuration that makes sense as a whole.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use ipnet::Ipv4Net;
use toml::Spanned;
use tracing_subscriber::EnvFilter;

use super::Config;
use super::access_key::AccessKey;
use super::error::ConfigError;
use super::file::{self, File, Source, VbrRouteType};
use crate::cen::identifier::VbrId;
use crate::cen::network::{BoundVpc, Declarations, DeclaredAddress, DeclaredRoute, DeclaredVbr, Host, VpcName};
use crate::cen::openapi::region::{REGIONS, Region};
use crate::cen::realism::{MAX_DELAY, Settings};
use crate::cloud::fabric_binding::{Bindings, BoundNetwork, FabricBinding, GatewayBinding, NetworkBinding};
use crate::io::private_file;
use crate::wire::cidr::Cidr;

/// The largest file of access keys, in bytes.
const KEY_FILE_LIMIT: u64 = 1 << 16;

pub(super) fn check(source: &Source<'_>, file: File) -> Result<Config, ConfigError> {
    let mut checker = Checker { source, used: BTreeMap::new(), blocks: Vec::new() };
    let mut declarations = Declarations::default();
    if let Some(pool) = &file.public_addresses {
        declarations.address_pool = checker.aligned("public_addresses", pool)?;
    }
    let mut bindings = Bindings {
        fabric: file.fabric.as_ref().map(|fabric| FabricBinding { namespace: fabric.namespace.clone() }),
        ..Bindings::default()
    };
    for vpc in &file.vpc {
        let (bound, binding) = checker.vpc(vpc)?;
        declarations.bound_vpcs.push(bound);
        bindings.networks.push(binding);
    }
    for vbr in &file.vbr {
        let (declared, binding) = checker.vbr(vbr)?;
        declarations.vbrs.push(declared);
        bindings.networks.extend(binding);
    }
    for gateway in &file.vpn_gateway {
        let (address, binding) = checker.vpn_gateway(gateway)?;
        declarations.gateway_addresses.push(address);
        bindings.vpn_gateways.extend(binding);
    }
    for instance in &file.instance {
        declarations.instances.insert(checker.host("instance", "i-", instance)?.into(), host(instance));
    }
    for ha_vip in &file.ha_vip {
        declarations.ha_vips.insert(checker.host("ha_vip", "havip-", ha_vip)?.into(), host(ha_vip));
    }
    if bindings.fabric.is_none()
        && let Some(vpc) = file.vpc.first()
    {
        let message = "a bound VPC needs the table [fabric] with the key namespace";
        return Err(source.wrong(vpc.namespace.span(), "vpc.namespace", message));
    }
    Ok(Config {
        listen: file.listen,
        listen_tls: file.listen_tls,
        tls_files: tls_files(source, &file)?,
        state: file.state,
        log: log(source, file.log)?,
        core_dumps: file.core_dumps,
        access_keys: access_keys(source, file.access_key, file.access_key_file)?,
        declarations,
        bindings,
        realism: file.realism.map(|table| realism(source, &table)).transpose()?.unwrap_or_default(),
    })
}

fn realism(source: &Source<'_>, table: &file::Realism) -> Result<Settings, ConfigError> {
    if let Some(delay) = table.delay.as_ref().filter(|delay| *delay.as_ref() > MAX_DELAY) {
        return Err(source.wrong(delay.span(), "realism.delay", format!("allowed: 0 to {MAX_DELAY} milliseconds")));
    }
    if let Some(busy) = table.busy.as_ref().filter(|busy| !(0.0..=1.0).contains(busy.as_ref())) {
        return Err(source.wrong(busy.span(), "realism.busy", "allowed: 0 to 1"));
    }
    Ok(Settings {
        delay: table.delay.as_ref().map_or(0, |delay| *delay.as_ref()),
        busy: table.busy.as_ref().map_or(0.0, |busy| *busy.as_ref()),
        seed: table.seed,
        calls_per_second: table.calls_per_second,
    })
}

/// Both or none.
fn tls_files(source: &Source<'_>, file: &File) -> Result<Option<(PathBuf, PathBuf)>, ConfigError> {
    if let (Some(one), None) = (&file.tls_certificate, file.listen_tls) {
        return Err(source.wrong(one.span(), "tls_certificate", "it needs listen_tls beside it"));
    }
    match (&file.tls_certificate, &file.tls_key) {
        (Some(certificate), Some(key)) => Ok(Some((certificate.as_ref().clone(), key.as_ref().clone()))),
        (Some(one), None) => Err(source.wrong(one.span(), "tls_certificate", "it needs tls_key beside it")),
        (None, Some(one)) => Err(source.wrong(one.span(), "tls_key", "it needs tls_certificate beside it")),
        (None, None) => Ok(None),
    }
}

fn host(host: &file::Host) -> Host {
    Host { vpc: VpcName { region: host.region.as_ref().clone(), name: host.vpc.clone() }, address: host.address }
}

fn log(source: &Source<'_>, log: Option<Spanned<String>>) -> Result<String, ConfigError> {
    let Some(log) = log else { return Ok(file::default_log()) };
    EnvFilter::try_new(log.as_ref()).map_err(|error| {
        let message = format!("{error}; allowed: error, warn, info, debug or trace, or a list of modules with these");
        source.wrong(log.span(), "log", message)
    })?;
    Ok(log.into_inner())
}

fn access_keys(
    source: &Source<'_>,
    inline: Vec<file::AccessKey>,
    file: Option<Spanned<PathBuf>>,
) -> Result<Vec<AccessKey>, ConfigError> {
    let mut keys: Vec<AccessKey> = Vec::new();
    for file::AccessKey { id, secret } in inline {
        if id.as_ref().is_empty() {
            return Err(source.wrong(id.span(), "access_key.id", "is empty; allowed: a text in quotes, not empty"));
        }
        if keys.iter().any(|key| key.id == *id.as_ref()) {
            let message = format!("{} is there twice; allowed: one secret for each id", id.as_ref());
            return Err(source.wrong(id.span(), "access_key.id", message));
        }
        keys.push(AccessKey { id: id.into_inner(), secret });
    }
    if let Some(file) = file {
        let path = source.path.parent().unwrap_or(Path::new("")).join(file.as_ref());
        let wrong = |message: String| source.wrong(file.span(), "access_key_file", message);
        let text = private_file::read(&path, KEY_FILE_LIMIT).map_err(|error| wrong(error.to_string()))?;
        let listed = AccessKey::parse_list(&text).map_err(|message| wrong(format!("{}: {message}", path.display())))?;
        for key in listed {
            if keys.iter().any(|known| known.id == key.id) {
                let shown = path.display();
                return Err(wrong(format!("{shown}: {} is there twice; allowed: one secret for each id", key.id)));
            }
            keys.push(key);
        }
    }
    Ok(keys)
}

/// Where something is in the file, for the complaint about its double.
type Place = Range<usize>;

struct Checker<'a> {
    source: &'a Source<'a>,
    /// What may stand in the file once only, by kind and value.
    used: BTreeMap<(&'static str, String), Place>,
    /// CIDR blocks of bound networks, with the names to blame.
    blocks: Vec<(Ipv4Net, String)>,
}

impl Checker<'_> {
    fn vpc(&mut self, vpc: &file::Vpc) -> Result<(BoundVpc, NetworkBinding), ConfigError> {
        let name = VpcName { region: self.region("vpc", &vpc.region)?, name: vpc.name.as_ref().clone() };
        self.once("name", format!("VPC {} in {}", name.name, name.region), "vpc.name", vpc.name.span())?;
        self.once("namespace", vpc.namespace.as_ref().clone(), "vpc.namespace", vpc.namespace.span())?;
        self.once("fabric_device", vpc.fabric_device.as_ref().clone(), "vpc.fabric_device", vpc.fabric_device.span())?;
        self.device("vpc.router_device", &vpc.router_device)?;
        self.device("vpc.fabric_device", &vpc.fabric_device)?;
        let what = format!("VPC {}", name.name);
        self.block("vpc.cidr", &vpc.cidr, what)?;
        let binding = NetworkBinding {
            network: BoundNetwork::Vpc(name.clone()),
            namespace: vpc.namespace.as_ref().as_str().into(),
            router_device: vpc.router_device.as_ref().as_str().into(),
            router_address: vpc.router_address,
            fabric_device: vpc.fabric_device.as_ref().as_str().into(),
            fabric_address: vpc.fabric_address,
            data_center_address: None,
        };
        Ok((BoundVpc { vpc: name, cidr: vpc.cidr.as_ref().0 }, binding))
    }

    fn vbr(&mut self, vbr: &file::Vbr) -> Result<(DeclaredVbr, Option<NetworkBinding>), ConfigError> {
        let id = vbr.id.as_ref();
        self.identifier("vbr.id", "vbr-", &vbr.id)?;
        let binding = self.vbr_binding(vbr)?;
        let mut routes = Vec::new();
        for route in &vbr.route {
            let Cidr(destination) = *route.destination.as_ref();
            self.once("route", format!("{destination} of {id}"), "vbr.route.destination", route.destination.span())?;
            if binding.is_some() {
                self.block("vbr.route.destination", &route.destination, format!("VBR {id}"))?;
            } else {
                self.aligned("vbr.route.destination", &route.destination)?;
            }
            if let Some(as_path) = route.as_path.as_ref().filter(|_| route.kind == VbrRouteType::Static) {
                let message = "only a route of type \"bgp\" has an AS path";
                return Err(self.source.wrong(as_path.span(), "vbr.route.as_path", message));
            }
            let as_path = route.as_path.as_ref().map(|path| path.as_ref().clone()).unwrap_or_default();
            let as_path = (route.kind == VbrRouteType::Bgp).then_some(as_path);
            routes.push(DeclaredRoute { destination, as_path });
        }
        let suffix = id.strip_prefix("vbr-").unwrap_or(id);
        let declared = DeclaredVbr {
            id: VbrId::from(id.as_str()),
            region: self.region("vbr", &vbr.region)?,
            name: vbr.name.clone(),
            route_table: vbr.route_table.clone().unwrap_or_else(|| format!("vtb-{suffix}")).into(),
            router_interface: vbr.router_interface.clone().unwrap_or_else(|| format!("ri-{suffix}")),
            routes,
        };
        Ok((declared, binding))
    }

    fn vbr_binding(&mut self, vbr: &file::Vbr) -> Result<Option<NetworkBinding>, ConfigError> {
        let file::Vbr { namespace, router_device, router_address, fabric_device, fabric_address, .. } = vbr;
        let binding = match (namespace, router_device, router_address, fabric_device, fabric_address) {
            (Some(namespace), Some(router_device), Some(router_address), Some(fabric_device), Some(fabric_address)) => {
                self.once("namespace", namespace.as_ref().clone(), "vbr.namespace", namespace.span())?;
                self.once("fabric_device", fabric_device.as_ref().clone(), "vbr.fabric_device", fabric_device.span())?;
                self.device("vbr.router_device", router_device)?;
                self.device("vbr.fabric_device", fabric_device)?;
                NetworkBinding {
                    network: BoundNetwork::Vbr(VbrId::from(vbr.id.as_ref().as_str())),
                    namespace: namespace.as_ref().as_str().into(),
                    router_device: router_device.as_ref().as_str().into(),
                    router_address: *router_address,
                    fabric_device: fabric_device.as_ref().as_str().into(),
                    fabric_address: *fabric_address,
                    data_center_address: vbr.data_center_address,
                }
            }
            (None, None, None, None, None) => return Ok(None),
            _ => {
                let message = "a bound VBR has all of namespace, router_device, router_address, fabric_device and \
                               fabric_address, one that is not bound has none of them";
                return Err(self.source.wrong(vbr.id.span(), "vbr", message));
            }
        };
        Ok(Some(binding))
    }

    fn vpn_gateway(
        &mut self,
        gateway: &file::VpnGateway,
    ) -> Result<(DeclaredAddress, Option<GatewayBinding>), ConfigError> {
        let (name, public) = (gateway.name.as_ref(), &gateway.public_address);
        let region = self.region("vpn_gateway", &gateway.region)?;
        let what = format!("VPN gateway {name} in {region}");
        self.once("name", what, "vpn_gateway.name", gateway.name.span())?;
        self.once("public_address", public.as_ref().to_string(), "vpn_gateway.public_address", public.span())?;
        let address = DeclaredAddress { region: region.clone(), gateway_name: name.clone(), address: *public.as_ref() };
        let file::VpnGateway { namespace, inner_address, router_address, socket, .. } = gateway;
        let binding = match (namespace, inner_address, router_address, socket) {
            (Some(namespace), Some(inner_address), Some(router_address), Some(socket)) => {
                self.once("namespace", namespace.as_ref().clone(), "vpn_gateway.namespace", namespace.span())?;
                Some(GatewayBinding {
                    region,
                    name: name.clone(),
                    namespace: namespace.as_ref().as_str().into(),
                    inner_address: *inner_address,
                    router_address: *router_address,
                    socket: socket.clone(),
                })
            }
            (None, None, None, None) => None,
            _ => {
                let message = "a bound VPN gateway has all of namespace, inner_address, router_address and socket, one \
                               that is not bound has none of them";
                return Err(self.source.wrong(gateway.name.span(), "vpn_gateway", message));
            }
        };
        Ok((address, binding))
    }

    fn host(&mut self, table: &'static str, prefix: &str, host: &file::Host) -> Result<String, ConfigError> {
        self.region(table, &host.region)?;
        self.identifier(&format!("{table}.id"), prefix, &host.id)?;
        Ok(host.id.as_ref().clone())
    }

    fn region(&self, table: &str, region: &Spanned<String>) -> Result<String, ConfigError> {
        if Region::by_id(region.as_ref()).is_some() {
            return Ok(region.as_ref().clone());
        }
        let known: Vec<&str> = REGIONS.iter().map(|region| region.id).collect();
        let message = format!("\"{}\" is no region of the cloud; allowed: {}", region.as_ref(), known.join(", "));
        Err(self.source.wrong(region.span(), &format!("{table}.region"), message))
    }

    /// The kernel has no longer names of devices.
    fn device(&self, key: &str, name: &Spanned<String>) -> Result<(), ConfigError> {
        let has_place = (1..=15).contains(&name.as_ref().len());
        if has_place && name.as_ref().chars().all(|c| c.is_ascii_graphic() && c != '/' && c != '%') {
            return Ok(());
        }
        let shown = name.as_ref();
        let message =
            format!("\"{shown}\" is no device name; allowed: up to 15 letters, digits and signs without / and %");
        Err(self.source.wrong(name.span(), key, message))
    }

    fn identifier(&mut self, key: &str, prefix: &str, id: &Spanned<String>) -> Result<(), ConfigError> {
        if id.as_ref().len() <= prefix.len() || !id.as_ref().starts_with(prefix) {
            return Err(self.source.wrong(
                id.span(),
                key,
                format!("\"{}\" is not allowed here; allowed: an id that begins with {prefix}", id.as_ref()),
            ));
        }
        self.once("id", id.as_ref().clone(), key, id.span())
    }

    /// Refuses what is empty, or stands in the file for the second time.
    fn once(&mut self, kind: &'static str, value: String, key: &str, place: Place) -> Result<(), ConfigError> {
        if value.is_empty() {
            return Err(self.source.wrong(place, key, "is empty; allowed: a text in quotes, not empty"));
        }
        match self.used.insert((kind, value.clone()), place.clone()) {
            None => Ok(()),
            Some(first) => {
                let first = self.source.wrong(first, key, "").line.unwrap_or_default();
                Err(self.source.wrong(place, key, format!("{value} is used in line {first} already")))
            }
        }
    }

    fn aligned(&self, key: &str, cidr: &Spanned<Cidr<Ipv4Net>>) -> Result<Ipv4Net, ConfigError> {
        let Cidr(block) = *cidr.as_ref();
        if block != block.trunc() {
            return Err(self.source.wrong(
                cidr.span(),
                key,
                format!("{block} has bits set behind its prefix; allowed: {}", block.trunc()),
            ));
        }
        Ok(block)
    }

    /// Bound networks are joined by real links: their blocks may not overlap.
    fn block(&mut self, key: &str, cidr: &Spanned<Cidr<Ipv4Net>>, what: String) -> Result<(), ConfigError> {
        let block = self.aligned(key, cidr)?;
        let collision = self.blocks.iter().find(|(other, _)| other.contains(&block) || block.contains(other));
        if let Some((other, whose)) = collision.filter(|(_, whose)| *whose != what) {
            return Err(self.source.wrong(cidr.span(), key, format!("{block} collides with {other} of {whose}")));
        }
        self.blocks.push((block, what));
        Ok(())
    }
}
