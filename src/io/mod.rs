//! The only sockets, file descriptors, netlink and files.
pub mod clock;
pub mod device;
pub mod esp_sockets;
pub mod forwarding;
pub mod host;
pub mod http;
pub mod netlink;
pub mod netns;
pub mod nftables;
pub mod openapi_client;
pub mod private_file;
pub mod raw;
pub mod socket_message;
pub mod store;
pub mod udp;
pub mod unix;
pub mod wake;
