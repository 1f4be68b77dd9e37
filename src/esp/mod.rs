//! Sans-IO ESP security associations (RFC 4303).
