//! The only sockets, file descriptors, netlink and files.
pub mod device;
pub mod store;
