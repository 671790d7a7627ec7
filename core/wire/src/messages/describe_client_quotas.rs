//! DescribeClientQuotas (key 48, versions 0-1). KIP-546.

use buslane_wire_derive::Wire;

use crate::error_code::ErrorCode;

/// Asks for quotas.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(request, key = 48, versions = "0-1", flexible = "1+")]
pub struct DescribeClientQuotasRequest<'a> {
    pub components: Vec<ComponentData<'a>>,
    /// Leave out entities that have parts not asked for.
    pub strict: bool,
}

/// An element of [`DescribeClientQuotasRequest::components`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct ComponentData<'a> {
    pub entity_type: &'a str,
    /// 0: this name; 1: the default entity; 2: any named entity.
    pub match_type: i8,
    /// The name; null for the other match types.
    #[wire(nullable = "0+", name = "Match")]
    pub match_value: Option<&'a str>,
}

/// The quotas that match.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(response, key = 48, versions = "0-1", flexible = "1+")]
pub struct DescribeClientQuotasResponse<'a> {
    /// How long the client should hold back because of a quota; the broker has already answered.
    pub throttle_time_ms: i32,
    pub error_code: ErrorCode,
    #[wire(nullable = "0+")]
    pub error_message: Option<&'a str>,
    #[wire(nullable = "0+")]
    pub entries: Option<Vec<EntryData<'a>>>,
}

/// An element of [`DescribeClientQuotasResponse::entries`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct EntryData<'a> {
    pub entity: Vec<EntityData<'a>>,
    pub values: Vec<ValueData<'a>>,
}

/// An element of [`EntryData::entity`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct EntityData<'a> {
    pub entity_type: &'a str,
    /// The name; null for the default entity.
    #[wire(nullable = "0+")]
    pub entity_name: Option<&'a str>,
}

/// An element of [`EntryData::values`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct ValueData<'a> {
    pub key: &'a str,
    pub value: f64,
}
