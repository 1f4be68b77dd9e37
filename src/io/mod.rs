//! The only sockets, file descriptors, netlink and files.
pub mod clock;
pub mod device;
pub mod host;
pub mod http;
pub mod private_file;
pub mod store;
pub mod unix;
