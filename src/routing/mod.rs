//! The VPN gateway's route table.
