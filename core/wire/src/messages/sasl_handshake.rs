//! SaslHandshake (key 17, versions 0-1). Never flexible (KAFKA-9577). After version 1 the exchange goes
//! through SaslAuthenticate, after version 0 in bare frames.

use buslane_wire_derive::Wire;

use crate::error_code::ErrorCode;

/// Chooses a SASL mechanism.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(request, key = 17, versions = "0-1", flexible = "none")]
pub struct SaslHandshakeRequest<'a> {
    /// `PLAIN`, `SCRAM-SHA-256` and so on.
    pub mechanism: &'a str,
}

/// The mechanisms on offer.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(response, key = 17, versions = "0-1", flexible = "none")]
pub struct SaslHandshakeResponse<'a> {
    pub error_code: ErrorCode,
    pub mechanisms: Vec<&'a str>,
}
