//! AlterClientQuotas (key 49).

use buslane_wire_derive::Wire;

use crate::error_code::ErrorCode;

/// Asks for AlterClientQuotas.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(request, key = 49, versions = "0-1", flexible = "1+")]
pub struct AlterClientQuotasRequest<'a> {
    pub entries: Vec<EntryData<'a>>,
    pub validate_only: bool,
}

/// An element of [`AlterClientQuotasRequest::entries`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct EntryData<'a> {
    pub entity: Vec<EntityData<'a>>,
    pub ops: Vec<OpData<'a>>,
}

/// An element of [`EntryData::entity`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct EntityData<'a> {
    pub entity_type: &'a str,
    #[wire(nullable = "0+")]
    pub entity_name: Option<&'a str>,
}

/// An element of [`EntryData::ops`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct OpData<'a> {
    pub key: &'a str,
    pub value: f64,
    pub remove: bool,
}

/// Answers AlterClientQuotas.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(response, key = 49, versions = "0-1", flexible = "1+")]
pub struct AlterClientQuotasResponse<'a> {
    pub throttle_time_ms: i32,
    pub entries: Vec<EntryResult<'a>>,
}

/// An element of [`AlterClientQuotasResponse::entries`].
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(name = "EntryData")]
pub struct EntryResult<'a> {
    pub error_code: ErrorCode,
    #[wire(nullable = "0+")]
    pub error_message: Option<&'a str>,
    pub entity: Vec<EntityData<'a>>,
}
