//! AlterUserScramCredentials (key 51).

use buslane_wire_derive::Wire;

use crate::error_code::ErrorCode;

/// Asks for AlterUserScramCredentials.
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
    pub mechanism: i8,
}

/// An element of [`AlterUserScramCredentialsRequest::upsertions`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct ScramCredentialUpsertion<'a> {
    pub name: &'a str,
    pub mechanism: i8,
    pub iterations: i32,
    pub salt: &'a [u8],
    pub salted_password: &'a [u8],
}

/// Answers AlterUserScramCredentials.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(response, key = 51, versions = "0", flexible = "0+")]
pub struct AlterUserScramCredentialsResponse<'a> {
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
