//! Notify payload (RFC 7296 section 3.10).

use super::codes::{NotifyType, PayloadType, ProtocolId};
use super::cursor::{Cursor, TooLong, put_u8_length};
use super::malformed::Malformed;

/// An error or a status, about an SA or about the exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notify {
    /// The protocol of the SA that the notification concerns; `NONE` when it concerns none.
    pub protocol: ProtocolId,
    /// The SPI of that SA, empty for the IKE SA and when it concerns none. At most 255 bytes.
    pub spi: Vec<u8>,
    /// What is notified (Notify Message Type).
    pub kind: NotifyType,
    /// What the type says about it; empty for most types (Notification Data).
    pub data: Vec<u8>,
}

impl Notify {
    /// A notification about the exchange itself, or about the IKE SA.
    pub fn new(kind: NotifyType, data: Vec<u8>) -> Self {
        Self { protocol: ProtocolId::NONE, spi: Vec::new(), kind, data }
    }

    /// A notification about an ESP SA.
    pub fn about_esp(kind: NotifyType, spi: u32, data: Vec<u8>) -> Self {
        Self { protocol: ProtocolId::ESP, spi: spi.to_be_bytes().to_vec(), kind, data }
    }

    /// The SPI of the ESP SA that the notification concerns, if it concerns one.
    pub fn esp_spi(&self) -> Option<u32> {
        let spi = <[u8; 4]>::try_from(self.spi.as_slice()).ok()?;
        (self.protocol == ProtocolId::ESP).then(|| u32::from_be_bytes(spi))
    }
}

pub(super) fn parse(body: &[u8]) -> Result<Notify, Malformed> {
    let mut body = Cursor::new(body);
    let read = |body: &mut Cursor<'_>| {
        let [protocol, spi_len] = body.array()?;
        let kind = NotifyType(body.u16()?);
        let spi = body.take(spi_len.into())?.to_vec();
        Some(Notify { protocol: ProtocolId(protocol), spi, kind, data: body.rest().to_vec() })
    };
    read(&mut body).ok_or(Malformed::Payload { payload: PayloadType::NOTIFY, reason: "truncated" })
}

pub(super) fn encode(value: &Notify, out: &mut Vec<u8>) -> Result<(), TooLong> {
    let Notify { protocol, spi, kind, data } = value;
    out.push(protocol.0);
    put_u8_length(out, spi.len(), "bytes of an SPI")?;
    out.extend(kind.0.to_be_bytes());
    out.extend(spi);
    out.extend(data);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_the_layout_of_the_rfc() {
        let bytes = [3, 4, 0x40, 0x09, 1, 2, 3, 4, 0xab];
        let notify = Notify::about_esp(NotifyType::REKEY_SA, 0x0102_0304, vec![0xab]);
        assert_eq!(parse(&bytes), Ok(notify.clone()));
        let mut out = Vec::new();
        encode(&notify, &mut out).unwrap();
        assert_eq!(out, bytes);
        assert_eq!(notify.esp_spi(), Some(0x0102_0304));
    }

    #[test]
    fn an_spi_of_another_length_is_no_esp_spi() {
        for length in [0_u8, 1, 3, 5, 8, 255] {
            let mut bytes = vec![3, length, 0x40, 0x09];
            bytes.extend(vec![1; length.into()]);
            assert_eq!(parse(&bytes).unwrap().esp_spi(), None, "{length} bytes");
            bytes.pop();
            assert!(parse(&bytes).is_err(), "{length} bytes announced, one fewer sent");
        }
    }
}
