//! The VPN gateway's route table, and what it asks of the kernel.
//!
//! [`Table`] holds the routes with their owners; [`best_path`] decides which of them forwards; [`policy`] says what is
//! protected and what is exempt, [`interest`] which of everybody's routes matter to that, [`local_subnets`] what is closed behind the tunnel; [`kernel_routes`] says which kernel
//! routes and rules keep the packets on that path and fail closed, [`main_table`] where the main table is not enough for them; [`reconcile`] compares that with what a kernel has, and
//! [`tunnel_device`] does the same for the tunnel device; [`shared`] are the sets and maps that this is told in. Everything here is pure: the sockets are in `io::netlink`.
pub mod best_path;
pub mod entry;
pub mod forwarding_table;
pub mod interest;
pub mod kernel_routes;
pub mod local_subnets;
pub mod main_table;
pub mod picture;
pub mod policy;
pub mod prefixes;
pub mod protected_sources;
pub mod reconcile;
pub mod shared;
pub mod table;
pub mod tunnel_device;

pub use entry::{ClosedBecause, Owner, Publication, RouteKey, RoutePolicy, RouteState, VpnRoute, Weight};
pub use forwarding_table::update_fib;
pub use interest::{Interest, PassedBy};
pub use kernel_routes::{FIREWALL_MARK, KernelPolicy, PROTOCOL_CEND, PROTOCOL_GATEWAYD, holds_any, kernel_state};
pub use local_subnets::{LocalSubnets, OuterDevices, local_subnets};
pub use main_table::MainTable;
pub use picture::{Destinations, Picture};
pub use policy::{Closed, Exemption, Policy};
pub use protected_sources::{AddressRange, ProtectedSources};
pub use reconcile::{Diff, Family, KernelRoute, KernelRule, KernelState, RouteKind, reconcile};
pub use shared::{SharedMap, SharedSet};
pub use table::{RouteRefused, Table};
pub use tunnel_device::{ActualDevice, DeviceChange, WantedDevice, device_changes};
