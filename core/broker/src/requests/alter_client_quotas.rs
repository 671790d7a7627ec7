//! AlterClientQuotas (key 49), versions 0 and 1 (KIP-546).
//!
//! Each entity is answered for itself and changed as a whole or not at all; one that stands there more than once is
//! answered once, and not changed (Kafka changes it the first time, and answers with the same error). Removing what is not
//! there is no error. A change is in force before it is answered. Not done: names of hosts as addresses (`ip`), which
//! are refused.

use std::collections::BTreeMap;
use std::sync::Arc;

use buslane_meta::{Command, QuotaEntity, QuotaKey, apply};
use buslane_wire::ErrorCode;
use buslane_wire::messages::alter_client_quotas::{
    AlterClientQuotasRequest, AlterClientQuotasResponse, EntityData, EntryData, EntryResult,
};

use super::describe_client_quotas::{CLIENT_ID, IP, USER};
use super::{Answer, RequestContext, Unanswerable, decode};
use crate::node::{Node, error_code};
use crate::topics::{Refused, repeated};

/// An entity as it is asked for: its parts by type, the last one of a type counting, as in Kafka.
type Asked<'a> = BTreeMap<&'a str, Option<&'a str>>;

pub async fn handle(node: &Arc<Node>, context: RequestContext, body: &[u8]) -> Result<Answer, Unanswerable> {
    let request: AlterClientQuotasRequest<'_> = decode(body, context.version)?;
    let asked: Vec<Asked<'_>> = request.entries.iter().map(entity).collect();
    let outcomes = alter(node, &request, &asked).await;
    let twice = repeated(asked.iter());
    let mut told = std::collections::HashSet::new();
    let entries = asked
        .iter()
        .zip(&outcomes)
        .filter(|(entity, _)| !twice.contains(entity) || told.insert(*entity))
        .map(|(entity, outcome)| EntryResult {
            error_code: outcome.as_ref().err().map_or(ErrorCode::NONE, |r| r.code),
            error_message: outcome.as_ref().err().map(|r| &*r.message),
            entity: entity
                .iter()
                .map(|(entity_type, entity_name)| EntityData { entity_type, entity_name: *entity_name })
                .collect(),
        })
        .collect();
    context.answer(&AlterClientQuotasResponse { throttle_time_ms: 0, entries })
}

fn entity<'a>(entry: &EntryData<'a>) -> Asked<'a> {
    entry.entity.iter().map(|part| (part.entity_type, part.entity_name)).collect()
}

async fn alter(
    node: &Arc<Node>,
    request: &AlterClientQuotasRequest<'_>,
    asked: &[Asked<'_>],
) -> Vec<Result<(), Refused>> {
    let twice = repeated(asked.iter());
    let image = node.consensus.image();
    let (mut indexes, mut commands) = (Vec::new(), Vec::new());
    let mut outcomes = Vec::with_capacity(asked.len());
    for (index, (entity, entry)) in asked.iter().zip(&request.entries).enumerate() {
        let planned = match twice.contains(entity) {
            true => Err(invalid("the entity stands twice in the request".to_owned())),
            false => plan(entity, entry).and_then(|command| {
                // Refused here as it would be there, so that a request that only validates says the same.
                apply(&image, &command).map_err(|refused| invalid(refused.to_string()))?;
                Ok(command)
            }),
        };
        outcomes.push(planned.map(|command| {
            indexes.push(index);
            commands.push(command);
        }));
    }
    if request.validate_only || commands.is_empty() {
        return outcomes;
    }
    match node.propose_all(commands).await {
        Ok(results) => {
            for (index, result) in indexes.into_iter().zip(results) {
                outcomes[index] = result
                    .map(drop)
                    .map_err(|refused| Refused::new(error_code(&refused), refused.to_string()));
            }
        }
        Err(code) => {
            for index in indexes {
                outcomes[index] = Err(Refused::new(code, "the metadata did not take the change; try again"));
            }
        }
    }
    outcomes
}

fn invalid(message: String) -> Refused {
    Refused::new(ErrorCode::INVALID_REQUEST, message)
}

/// The command for one entity.
fn plan(asked: &Asked<'_>, entry: &EntryData<'_>) -> Result<Command, Refused> {
    let mut entity = QuotaEntity { user: None, client_id: None, ip: None };
    for (kind, name) in asked {
        match *kind {
            USER => entity.user = Some((*name).into()),
            CLIENT_ID => entity.client_id = Some((*name).into()),
            IP => entity.ip = Some((*name).into()),
            _ => return Err(invalid(format!("Unhandled client quota entity type: {kind}"))),
        }
    }
    let mut changes = BTreeMap::new();
    for op in &entry.ops {
        let key = QuotaKey::named(op.key);
        let value = match (key, op.remove) {
            // What nobody knows nobody has.
            (None, true) => continue,
            (None, false) => return Err(invalid(format!("Invalid configuration key {}", op.key))),
            (Some(_), true) => None,
            (Some(key), false) => Some(key.check(op.value).map_err(|refused| invalid(refused.to_string()))?),
        };
        let key = key.expect("the others have gone on");
        if changes.insert(key, value).is_some() {
            return Err(invalid(format!("Duplicate quota key {}", op.key)));
        }
    }
    Ok(Command::AlterQuotas { entity, changes })
}

#[cfg(test)]
mod tests {
    use buslane_wire::messages::alter_client_quotas::OpData;

    use super::*;

    fn planned(entity_type: &str, ops: &[(&str, f64, bool)]) -> Result<Command, String> {
        let entry = EntryData {
            entity: vec![EntityData { entity_type, entity_name: Some("c") }],
            ops: ops
                .iter()
                .map(|(key, value, remove)| OpData { key, value: *value, remove: *remove })
                .collect(),
        };
        plan(&super::entity(&entry), &entry).map_err(|refused| {
            assert_eq!(refused.code, ErrorCode::INVALID_REQUEST);
            refused.message
        })
    }

    #[test]
    fn what_is_not_known_or_cannot_be_is_refused() {
        let rate = "producer_byte_rate";
        let table = [
            (planned("group", &[]), "entity type: group"),
            (planned(CLIENT_ID, &[("nonsense", 1.0, false)]), "key nonsense"),
            (planned(CLIENT_ID, &[(rate, 0.0, false)]), "greater than 0"),
            (planned(CLIENT_ID, &[(rate, 1.5, false)]), "fractional"),
            (planned(CLIENT_ID, &[(rate, 1.0, false), (rate, 0.0, true)]), "Duplicate quota key"),
        ];
        for (planned, reason) in table {
            let message = planned.unwrap_err();
            assert!(message.contains(reason), "{message}");
        }
    }

    #[test]
    fn values_are_set_and_removed() {
        let ops =
            [("request_percentage", 12.5, false), ("consumer_byte_rate", 0.0, true), ("nonsense", 0.0, true)];
        let Ok(Command::AlterQuotas { entity, changes }) = planned(CLIENT_ID, &ops) else {
            panic!("refused")
        };
        assert_eq!(entity, QuotaEntity { user: None, client_id: Some(Some("c").into()), ip: None });
        assert_eq!(changes[&QuotaKey::RequestPercentage].map(|value| value.get()), Some(12.5));
        assert_eq!((changes[&QuotaKey::ConsumerByteRate], changes.len()), (None, 2));
    }
}
