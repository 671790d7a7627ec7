//! SaslAuthenticate (key 36, versions 0-2). Version 1 tells how long the session lasts (KIP-368).

use buslane_wire_derive::Wire;

use crate::error_code::ErrorCode;

/// One step of a SASL exchange.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(request, key = 36, versions = "0-2", flexible = "2+")]
pub struct SaslAuthenticateRequest<'a> {
    /// What the SASL mechanism says.
    pub auth_bytes: &'a [u8],
}

/// The server's step.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(response, key = 36, versions = "0-2", flexible = "2+")]
pub struct SaslAuthenticateResponse<'a> {
    pub error_code: ErrorCode,
    #[wire(nullable = "0+")]
    pub error_message: Option<&'a str>,
    /// What the SASL mechanism says.
    pub auth_bytes: &'a [u8],
    /// The client must authenticate again within this time; 0 for never.
    #[wire(versions = "1+", ignorable)]
    pub session_lifetime_ms: i64,
}
