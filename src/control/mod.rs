//! The operator protocol shared by gatewayd, cend and gatewayctl.
