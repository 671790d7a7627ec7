//! DescribeUserScramCredentials (key 50, versions 0). KIP-554.

use buslane_wire_derive::Wire;

use crate::error_code::ErrorCode;

/// Asks which SCRAM credentials users have.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(request, key = 50, versions = "0", flexible = "0+")]
pub struct DescribeUserScramCredentialsRequest<'a> {
    /// Null or empty for all.
    #[wire(nullable = "0+")]
    pub users: Option<Vec<UserName<'a>>>,
}

/// An element of [`DescribeUserScramCredentialsRequest::users`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct UserName<'a> {
    pub name: &'a str,
}

/// Mechanisms and iterations, never secrets.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(response, key = 50, versions = "0", flexible = "0+")]
pub struct DescribeUserScramCredentialsResponse<'a> {
    /// How long the client should hold back because of a quota; the broker has already answered.
    pub throttle_time_ms: i32,
    pub error_code: ErrorCode,
    #[wire(nullable = "0+")]
    pub error_message: Option<&'a str>,
    pub results: Vec<DescribeUserScramCredentialsResult<'a>>,
}

/// An element of [`DescribeUserScramCredentialsResponse::results`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct DescribeUserScramCredentialsResult<'a> {
    pub user: &'a str,
    pub error_code: ErrorCode,
    #[wire(nullable = "0+")]
    pub error_message: Option<&'a str>,
    pub credential_infos: Vec<CredentialInfo>,
}

/// An element of [`DescribeUserScramCredentialsResult::credential_infos`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct CredentialInfo {
    /// 1: SCRAM-SHA-256; 2: SCRAM-SHA-512.
    pub mechanism: i8,
    /// Rounds of the key derivation.
    pub iterations: i32,
}
