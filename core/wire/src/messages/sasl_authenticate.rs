//! SaslAuthenticate (key 36).

use buslane_wire_derive::Wire;

use crate::error_code::ErrorCode;

/// Asks for SaslAuthenticate.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(request, key = 36, versions = "0-2", flexible = "2+")]
pub struct SaslAuthenticateRequest<'a> {
    pub auth_bytes: &'a [u8],
}

/// Answers SaslAuthenticate.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(response, key = 36, versions = "0-2", flexible = "2+")]
pub struct SaslAuthenticateResponse<'a> {
    pub error_code: ErrorCode,
    #[wire(nullable = "0+")]
    pub error_message: Option<&'a str>,
    pub auth_bytes: &'a [u8],
    #[wire(versions = "1+", ignorable)]
    pub session_lifetime_ms: i64,
}
