//! The cloud's OpenAPI: signed calls in, JSON out.
//!
//! A [`Request`](request::Request) is authenticated ([`authentication`], [`signature`]), its parameters are read
//! ([`rpc`]), and its row in [`ACTIONS`] answers it ([`service`]). Each resource has a file with its rows.

pub mod action;
pub mod attachment;
pub mod authentication;
pub mod bandwidth_limit;
pub mod bandwidth_package;
pub mod caller;
pub mod cen;
pub mod cen_route;
pub mod customer_gateway;
pub mod field;
pub mod grant;
pub mod live;
pub mod paging;
pub mod parameter;
pub mod published_route;
pub mod realism;
pub mod reference;
pub mod region;
pub mod request;
pub mod resource_group;
pub mod route_conflict;
pub mod route_entries;
pub mod route_entry;
pub mod route_map;
pub mod route_table;
pub mod rpc;
pub mod service;
pub mod signature;
pub mod tag;
pub mod tunnel_options;
pub mod validation;
pub mod vpc;
pub mod vpc_cidr;
pub mod vpc_published_route;
pub mod vpn_connection;
pub mod vpn_diagnosis;
pub mod vpn_gateway;
pub mod vpn_policy_route;
pub mod vpn_route;
pub mod vswitch;

use action::Action;

/// Every action that is served, by resource.
pub static ACTIONS: &[&[Action]] = &[
    cen::ACTIONS,
    attachment::ACTIONS,
    published_route::ACTIONS,
    cen_route::ACTIONS,
    route_conflict::ACTIONS,
    route_map::ACTIONS,
    bandwidth_package::ACTIONS,
    bandwidth_limit::ACTIONS,
    grant::CBN_ACTIONS,
    resource_group::CBN_ACTIONS,
    tag::ACTIONS,
    region::ACTIONS,
    vpc::ACTIONS,
    vpc_cidr::ACTIONS,
    vswitch::ACTIONS,
    route_table::ACTIONS,
    route_entry::ACTIONS,
    route_entries::ACTIONS,
    vpc_published_route::ACTIONS,
    grant::ACTIONS,
    resource_group::ACTIONS,
    vpn_gateway::ACTIONS,
    customer_gateway::ACTIONS,
    vpn_connection::ACTIONS,
    vpn_route::ACTIONS,
    vpn_policy_route::ACTIONS,
    vpn_diagnosis::ACTIONS,
    caller::ACTIONS,
    realism::ACTIONS,
];
