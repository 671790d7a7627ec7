//! DescribeUserScramCredentials (key 50).

use buslane_wire_derive::Wire;

use crate::error_code::ErrorCode;

/// Asks for DescribeUserScramCredentials.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(request, key = 50, versions = "0", flexible = "0+")]
pub struct DescribeUserScramCredentialsRequest<'a> {
    #[wire(nullable = "0+")]
    pub users: Option<Vec<UserName<'a>>>,
}

/// An element of [`DescribeUserScramCredentialsRequest::users`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct UserName<'a> {
    pub name: &'a str,
}

/// Answers DescribeUserScramCredentials.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(response, key = 50, versions = "0", flexible = "0+")]
pub struct DescribeUserScramCredentialsResponse<'a> {
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
    pub mechanism: i8,
    pub iterations: i32,
}
