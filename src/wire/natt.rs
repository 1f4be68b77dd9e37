//! What shares the NAT traversal port (RFC 3948 section 2).

/// Four zero octets where an SPI would stand: IKE follows.
pub const NON_ESP_MARKER: [u8; 4] = [0; 4];
/// The whole of a NAT keepalive.
pub const KEEPALIVE: [u8; 1] = [0xff];

/// What a datagram on the NAT traversal port is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// ESP: the whole datagram.
    Esp,
    /// IKE, behind the marker.
    Ike,
    /// A NAT keepalive.
    Keepalive,
    /// None of them.
    Malformed,
}

/// Tells what a datagram is by its first bytes.
pub fn classify(datagram: &[u8]) -> Kind {
    match datagram {
        [0xff] => Kind::Keepalive,
        [0, 0, 0, 0, _, ..] => Kind::Ike,
        [0, 0, 0, 0] | [] | [_] | [_, _] | [_, _, _] => Kind::Malformed,
        _ => Kind::Esp,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_told_apart() {
        assert_eq!(classify(&KEEPALIVE), Kind::Keepalive);
        assert_eq!(classify(&[0, 0, 0, 0, 1]), Kind::Ike);
        assert_eq!(classify(&[0, 0, 1, 0, 0, 0, 0, 1]), Kind::Esp);
        assert_eq!(classify(&[0xff; 8]), Kind::Esp);
        for malformed in [&[][..], &[0xfe], &[0, 0], &[0, 0, 0], &NON_ESP_MARKER] {
            assert_eq!(classify(malformed), Kind::Malformed, "{malformed:?}");
        }
    }
}
