//! DescribeClientQuotas (key 48), versions 0 and 1 (KIP-546).
//!
//! Entities that have every part asked for; where it is strict, no other part.

use buslane_meta::{Image, QuotaEntity, QuotaName, QuotaValues};
use buslane_wire::ErrorCode;
use buslane_wire::messages::describe_client_quotas::{
    ComponentData, DescribeClientQuotasRequest, DescribeClientQuotasResponse, EntityData, EntryData,
    ValueData,
};

use super::memory::Memory;
use super::{Answer, RequestContext, Unanswerable, decode};
use crate::node::Node;
use crate::topics::Refused;

/// With more entities than this an answer is made on a thread of its own.
const ENTITIES_AT_ONCE: usize = 1_000;

/// The types of entities, by their names in the protocol.
pub const USER: &str = "user";
/// See [`USER`].
pub const CLIENT_ID: &str = "client-id";
/// See [`USER`].
pub const IP: &str = "ip";

/// What is asked of one part of an entity.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Match<'a> {
    Named(&'a str),
    Default,
    Any,
}

impl Match<'_> {
    fn fits(self, part: Option<&QuotaName>) -> bool {
        match (self, part) {
            (Match::Named(name), Some(part)) => part.as_deref() == Some(name),
            (Match::Default, Some(part)) => *part == QuotaName::Default,
            (Match::Any, Some(_)) => true,
            (_, None) => false,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Filter<'a> {
    user: Option<Match<'a>>,
    client_id: Option<Match<'a>>,
    ip: Option<Match<'a>>,
    strict: bool,
}

impl Filter<'_> {
    fn fits(&self, entity: &QuotaEntity) -> bool {
        let part = |asked: Option<Match<'_>>, part: &Option<QuotaName>| match asked {
            Some(asked) => asked.fits(part.as_ref()),
            None => !self.strict || part.is_none(),
        };
        part(self.user, &entity.user) && part(self.client_id, &entity.client_id) && part(self.ip, &entity.ip)
    }
}

pub async fn handle(
    node: &Node,
    context: RequestContext,
    body: &[u8],
    memory: &Memory<'_>,
) -> Result<Answer, Unanswerable> {
    let request: DescribeClientQuotasRequest<'_> = decode(body, context.version)?;
    let image = node.consensus.image();
    let answer = || match filter(&request.components, request.strict) {
        Ok(filter) => context.answer(&DescribeClientQuotasResponse {
            entries: Some(found(&image, &filter)),
            ..Default::default()
        }),
        Err(refused) => context.answer(&DescribeClientQuotasResponse {
            error_code: refused.code,
            error_message: Some(&refused.message),
            entries: None,
            ..Default::default()
        }),
    };
    // Told all at once they are 20 MB at most. In the first poll: while they wait to be sent no further request is begun.
    if image.quotas.len() > ENTITIES_AT_ONCE { memory.wide_step(answer) } else { answer() }
}

fn filter<'a>(components: &[ComponentData<'a>], strict: bool) -> Result<Filter<'a>, Refused> {
    let invalid = |message: String| Err(Refused::new(ErrorCode::INVALID_REQUEST, message));
    let mut filter = Filter { strict, ..Filter::default() };
    for component in components {
        let kind = component.entity_type;
        let place = match kind {
            USER => &mut filter.user,
            CLIENT_ID => &mut filter.client_id,
            IP => &mut filter.ip,
            "" => return invalid("Invalid empty entity type.".to_owned()),
            _ => {
                let message = format!("Unsupported entity type {kind}");
                return Err(Refused::new(ErrorCode::UNSUPPORTED_VERSION, message));
            }
        };
        if place.is_some() {
            return invalid(format!("Entity type {kind} cannot appear more than once in the filter."));
        }
        *place = Some(match (component.match_type, component.match_value) {
            (0, Some(name)) => Match::Named(name),
            (1, None) => Match::Default,
            (2, None) => Match::Any,
            (0, None) => return invalid("A match of a name (0) needs the name.".to_owned()),
            (1 | 2, Some(_)) => {
                return invalid("A match of the default (1) or of any name (2) has no name.".to_owned());
            }
            (other, _) => return invalid(format!("Unknown match type {other}")),
        });
    }
    if filter.ip.is_some() && (filter.user.is_some() || filter.client_id.is_some()) {
        let message = "Invalid entity filter component combination: ip stands alone.";
        return invalid(message.to_owned());
    }
    Ok(filter)
}

fn found<'i>(image: &'i Image, filter: &Filter<'_>) -> Vec<EntryData<'i>> {
    let fitting = image.quotas.iter().filter(|(entity, _)| filter.fits(entity));
    fitting.map(|(entity, values)| told(entity, values)).collect()
}

fn told<'i>(entity: &'i QuotaEntity, values: &QuotaValues) -> EntryData<'i> {
    let parts = [(USER, &entity.user), (CLIENT_ID, &entity.client_id), (IP, &entity.ip)];
    let part = |(entity_type, name): (&'static str, &'i Option<QuotaName>)| {
        let name = name.as_ref()?;
        Some(EntityData { entity_type, entity_name: name.as_deref() })
    };
    let value = |(key, value): (&buslane_meta::QuotaKey, &buslane_meta::QuotaValue)| ValueData {
        key: key.name(),
        value: value.get(),
    };
    EntryData {
        entity: parts.into_iter().filter_map(part).collect(),
        values: values.iter().map(value).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn component<'a>(
        entity_type: &'a str,
        match_type: i8,
        match_value: Option<&'a str>,
    ) -> ComponentData<'a> {
        ComponentData { entity_type, match_type, match_value }
    }

    fn entity(user: Option<Option<&str>>, client_id: Option<Option<&str>>) -> QuotaEntity {
        QuotaEntity { user: user.map(QuotaName::from), client_id: client_id.map(QuotaName::from), ip: None }
    }

    #[test]
    fn wrong_filters_are_refused_with_kafkas_codes() {
        let (invalid, unsupported) = (ErrorCode::INVALID_REQUEST, ErrorCode::UNSUPPORTED_VERSION);
        let table = [
            (vec![component("", 2, None)], invalid),
            (vec![component("group", 2, None)], unsupported),
            (vec![component(USER, 2, None), component(USER, 1, None)], invalid),
            (vec![component(USER, 0, None)], invalid),
            (vec![component(USER, 1, Some("anna"))], invalid),
            (vec![component(USER, 2, Some("anna"))], invalid),
            (vec![component(USER, 3, None)], invalid),
            (vec![component(IP, 2, None), component(CLIENT_ID, 2, None)], invalid),
        ];
        for (components, code) in table {
            assert_eq!(filter(&components, false).unwrap_err().code, code, "{components:?}");
        }
    }

    #[test]
    fn entities_have_what_is_asked_for_and_where_it_is_strict_nothing_else() {
        let entities = [
            entity(Some(Some("anna")), None),
            entity(Some(None), None),
            entity(None, Some(Some("c"))),
            entity(Some(Some("anna")), Some(Some("c"))),
            entity(Some(Some("anna")), Some(None)),
            QuotaEntity { user: None, client_id: None, ip: Some(Some("10.0.0.1").into()) },
            QuotaEntity { user: None, client_id: None, ip: Some(None.into()) },
        ];
        let fitting = |components: &[ComponentData<'_>], strict| -> Vec<usize> {
            let filter = filter(components, strict).unwrap();
            (0..entities.len()).filter(|i| filter.fits(&entities[*i])).collect()
        };
        assert_eq!(fitting(&[], false), [0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(fitting(&[], true), [0; 0]);
        assert_eq!(fitting(&[component(USER, 0, Some("anna"))], false), [0, 3, 4]);
        assert_eq!(fitting(&[component(USER, 0, Some("anna"))], true), [0]);
        assert_eq!(fitting(&[component(USER, 1, None)], false), [1]);
        assert_eq!(fitting(&[component(USER, 2, None)], true), [0, 1]);
        assert_eq!(fitting(&[component(CLIENT_ID, 2, None)], false), [2, 3, 4]);
        assert_eq!(fitting(&[component(USER, 2, None), component(CLIENT_ID, 1, None)], true), [4]);
        assert_eq!(fitting(&[component(IP, 2, None)], false), [5, 6]);
        assert_eq!(fitting(&[component(IP, 0, Some("10.0.0.1"))], true), [5]);
        assert_eq!(fitting(&[component(IP, 1, None)], true), [6]);
    }
}
