//! AlterUserScramCredentials (key 51, versions 0). KIP-554.

use buslane_wire_derive::Wire;

use crate::error_code::ErrorCode;

/// Sets and removes SCRAM credentials.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(request, key = 51, versions = "0", flexible = "0+")]
pub struct AlterUserScramCredentialsRequest<'a> {
    pub deletions: Vec<ScramCredentialDeletion<'a>>,
    pub upsertions: Vec<ScramCredentialUpsertion<'a>>,
}

/// An element of [`AlterUserScramCredentialsRequest::deletions`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct ScramCredentialDeletion<'a> {
    pub name: &'a str,
    /// 1: SCRAM-SHA-256; 2: SCRAM-SHA-512.
    pub mechanism: i8,
}

/// An element of [`AlterUserScramCredentialsRequest::upsertions`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct ScramCredentialUpsertion<'a> {
    pub name: &'a str,
    /// 1: SCRAM-SHA-256; 2: SCRAM-SHA-512.
    pub mechanism: i8,
    /// Rounds of the key derivation.
    pub iterations: i32,
    pub salt: &'a [u8],
    pub salted_password: &'a [u8],
}

/// One result a user.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(response, key = 51, versions = "0", flexible = "0+")]
pub struct AlterUserScramCredentialsResponse<'a> {
    /// How long the client should hold back because of a quota; the broker has already answered.
    pub throttle_time_ms: i32,
    pub results: Vec<AlterUserScramCredentialsResult<'a>>,
}

/// An element of [`AlterUserScramCredentialsResponse::results`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct AlterUserScramCredentialsResult<'a> {
    pub user: &'a str,
    pub error_code: ErrorCode,
    #[wire(nullable = "0+")]
    pub error_message: Option<&'a str>,
}
