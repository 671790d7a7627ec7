//! SaslHandshake (key 17).

use buslane_wire_derive::Wire;

use crate::error_code::ErrorCode;

/// Asks for SaslHandshake.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(request, key = 17, versions = "0-1", flexible = "none")]
pub struct SaslHandshakeRequest<'a> {
    pub mechanism: &'a str,
}

/// Answers SaslHandshake.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(response, key = 17, versions = "0-1", flexible = "none")]
pub struct SaslHandshakeResponse<'a> {
    pub error_code: ErrorCode,
    pub mechanisms: Vec<&'a str>,
}
