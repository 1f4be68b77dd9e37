//! Certificate and Certificate Request payloads (RFC 7296 sections 3.6 and 3.7).

use super::codes::{CertificateEncoding, PayloadType};
use super::malformed::Malformed;

/// A certificate, or other data that backs an identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// How `data` is to be read (Cert Encoding).
    pub encoding: CertificateEncoding,
    /// The certificate, its URL or another proof, as `encoding` says (Certificate Data).
    pub data: Vec<u8>,
}

/// Which certificates the sender would like to see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateRequest {
    /// The kind of certificate that is asked for (Cert Encoding).
    pub encoding: CertificateEncoding,
    /// SHA-1 hashes of the public keys of trusted authorities, one after another, for the X.509 encodings.
    pub authorities: Vec<u8>,
}

fn split(payload: PayloadType, body: &[u8]) -> Result<(CertificateEncoding, Vec<u8>), Malformed> {
    let (encoding, data) = body.split_first().ok_or(Malformed::Payload { payload, reason: "empty" })?;
    Ok((CertificateEncoding(*encoding), data.to_vec()))
}

pub(super) fn parse_certificate(body: &[u8]) -> Result<Certificate, Malformed> {
    let (encoding, data) = split(PayloadType::CERTIFICATE, body)?;
    Ok(Certificate { encoding, data })
}

pub(super) fn parse_request(body: &[u8]) -> Result<CertificateRequest, Malformed> {
    let (encoding, authorities) = split(PayloadType::CERTIFICATE_REQUEST, body)?;
    Ok(CertificateRequest { encoding, authorities })
}

pub(super) fn encode_certificate(value: &Certificate, out: &mut Vec<u8>) {
    let Certificate { encoding, data } = value;
    out.push(encoding.0);
    out.extend(data);
}

pub(super) fn encode_request(value: &CertificateRequest, out: &mut Vec<u8>) {
    let CertificateRequest { encoding, authorities } = value;
    out.push(encoding.0);
    out.extend(authorities);
}
