//! The encoding of commands and images at rest: CBOR with numbered fields, each command under the level that introduced
//! it. The choice and its evolution rule: docs/decisions/0004-metadata-encoding.md.
//!
//! ```text
//! entry:    format u8 = 1 | CBOR array of commands, each [level, [variant, [fields…]]]
//! snapshot: format u8 = 1 | CBOR [level, [image's fields…]]
//! ```
//! Decoding allocates what it has read, never what a length announces.

pub(crate) mod ids;
pub(crate) mod shared;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use buslane_wire::ids::NodeId;
use minicbor::decode::Decoder;
use minicbor::encode::Encoder;
use minicbor::{Decode, Encode};

use crate::command::Command;
use crate::image::{Image, NodeImage, NodeState, TopicImage};
use crate::quotas::{QuotaValues, Quotas, StoredQuotas};

/// The container: another number would be another encoding altogether.
const FORMAT: u8 = 1;

/// The highest level that this build understands. Raised with each new command, field or meaning.
pub const LEVEL: u16 = 2;

/// Why bytes are no entry or image.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EncodingError {
    /// Written by a later version of this program. Nothing is wrong with it.
    #[error(
        "it was written at level {found} and this version understands {LEVEL}: start a version that does"
    )]
    Newer {
        /// The level, or the container's format.
        found: u16,
    },
    /// Not what this program writes.
    #[error("it cannot be read: {0}")]
    Malformed(String),
}

impl From<minicbor::decode::Error> for EncodingError {
    fn from(error: minicbor::decode::Error) -> Self {
        EncodingError::Malformed(error.to_string())
    }
}

/// The level that introduced this form of the command: an older build must not apply it, since it would make another
/// image of it.
fn level(command: &Command) -> u16 {
    match command {
        Command::ReplaceSegments { .. } | Command::AlterQuotas { .. } | Command::AlterBrokerConfig { .. } => {
            2
        }
        _ => 1,
    }
}

/// The highest level that something in the image needs: an older build that knows it reads the image, too.
fn image_level(image: &Image) -> u16 {
    let compacted = || image.partitions().any(|(_, p)| p.clean_end_offset.is_some());
    if !image.quotas.is_empty() || !image.broker_configs.is_empty() || compacted() { 2 } else { 1 }
}

/// One log entry's commands.
pub fn encode_entry(commands: &[Command]) -> Vec<u8> {
    let mut e = Encoder::new(vec![FORMAT]);
    let written = (|| {
        e.array(commands.len() as u64)?;
        for command in commands {
            e.array(2)?.u16(level(command))?.encode(command)?;
        }
        Ok::<(), minicbor::encode::Error<std::convert::Infallible>>(())
    })();
    written.expect("a Vec takes every byte");
    e.into_writer()
}

/// Reads what [`encode_entry`] wrote, in this version or an earlier one.
pub fn decode_entry(bytes: &[u8]) -> Result<Vec<Command>, EncodingError> {
    let mut d = body(bytes)?;
    let count = d.array()?.ok_or_else(|| EncodingError::Malformed("no length".to_owned()))?;
    let mut commands = Vec::new();
    for _ in 0..count {
        leveled(&mut d)?;
        commands.push(d.decode()?);
    }
    whole(&d, bytes)?;
    Ok(commands)
}

/// An image's snapshot.
pub fn encode_image(image: &Image) -> Vec<u8> {
    let mut e = Encoder::new(vec![FORMAT]);
    let written = (|| {
        e.array(2)?.u16(image_level(image))?.encode(StoredImageRef::of(image))?;
        Ok::<(), minicbor::encode::Error<std::convert::Infallible>>(())
    })();
    written.expect("a Vec takes every byte");
    e.into_writer()
}

/// Reads what [`encode_image`] wrote, in this version or an earlier one.
pub fn decode_image(bytes: &[u8]) -> Result<Image, EncodingError> {
    let mut d = body(bytes)?;
    leveled(&mut d)?;
    let stored: StoredImage = d.decode()?;
    whole(&d, bytes)?;
    Ok(stored.into_image())
}

fn body(bytes: &[u8]) -> Result<Decoder<'_>, EncodingError> {
    match bytes.split_first() {
        Some((&FORMAT, rest)) => Ok(Decoder::new(rest)),
        Some((&found, _)) if found > FORMAT => Err(EncodingError::Newer { found: u16::from(found) }),
        Some((&found, _)) => Err(EncodingError::Malformed(format!("format {found}"))),
        None => Err(EncodingError::Malformed("no bytes".to_owned())),
    }
}

/// One thing under the level that introduced this form of it.
pub(crate) fn encode_leveled<T: minicbor::Encode<()>>(level: u16, thing: &T, out: &mut Vec<u8>) {
    let mut e = Encoder::new(out);
    let written = (|| {
        e.array(2)?.u16(level)?.encode(thing)?;
        Ok::<(), minicbor::encode::Error<std::convert::Infallible>>(())
    })();
    written.expect("a Vec takes every byte");
}

/// Reads what [`encode_leveled`] wrote.
pub(crate) fn decode_leveled<'b, T: minicbor::Decode<'b, ()>>(
    d: &mut Decoder<'b>,
) -> Result<T, EncodingError> {
    leveled(d)?;
    Ok(d.decode()?)
}

/// The level before an item, refused when it is a later one.
fn leveled(d: &mut Decoder<'_>) -> Result<(), EncodingError> {
    if d.array()? != Some(2) {
        return Err(EncodingError::Malformed("no level".to_owned()));
    }
    match d.u16()? {
        found if found > LEVEL => Err(EncodingError::Newer { found }),
        0 => Err(EncodingError::Malformed("level 0".to_owned())),
        _ => Ok(()),
    }
}

fn whole(d: &Decoder<'_>, bytes: &[u8]) -> Result<(), EncodingError> {
    let left = bytes.len() - 1 - d.position();
    if left == 0 { Ok(()) } else { Err(EncodingError::Malformed(format!("{left} bytes too many"))) }
}

/// The image's fields as they are stored: what can be rebuilt (topics by name) is not.
#[derive(Decode)]
struct StoredImage {
    #[n(0)]
    version: u64,
    #[n(1)]
    cluster_id: Option<String>,
    #[n(2)]
    nodes: Vec<StoredNode>,
    #[cbor(n(3), with = "shared::list")]
    topics: Vec<Arc<TopicImage>>,
    #[n(4)]
    next_producer_id: i64,
    #[n(5)]
    features: Vec<(String, u16)>,
    #[n(6)]
    quotas: Option<Vec<StoredQuotas>>,
    #[n(7)]
    broker_configs: Option<Vec<StoredBrokerConfig>>,
}

#[derive(Encode, Decode)]
struct StoredBrokerConfig {
    #[cbor(n(0), with = "ids::owner", has_nil)]
    node: Option<NodeId>,
    #[n(1)]
    settings: BTreeMap<String, String>,
}

#[derive(Encode, Decode)]
struct StoredNode {
    #[cbor(n(0), with = "ids::node")]
    id: NodeId,
    #[n(1)]
    image: NodeImage,
    #[n(2)]
    state: NodeState,
}

/// The same, borrowed: a snapshot does not copy the image first.
#[derive(Encode)]
struct StoredImageRef<'a> {
    #[n(0)]
    version: u64,
    #[n(1)]
    cluster_id: Option<&'a str>,
    #[n(2)]
    nodes: Vec<StoredNode>,
    #[cbor(n(3), encode_with = "topics")]
    topics: &'a imbl::OrdMap<buslane_wire::ids::TopicId, Arc<TopicImage>>,
    #[n(4)]
    next_producer_id: i64,
    #[n(5)]
    features: Vec<(&'a str, u16)>,
    /// None where there are none: level 1 does not have it.
    #[n(6)]
    quotas: Option<Vec<StoredQuotas>>,
    #[n(7)]
    broker_configs: Option<Vec<StoredBrokerConfig>>,
}

fn topics<C, W: minicbor::encode::Write>(
    topics: &&imbl::OrdMap<buslane_wire::ids::TopicId, Arc<TopicImage>>,
    e: &mut Encoder<W>,
    ctx: &mut C,
) -> Result<(), minicbor::encode::Error<W::Error>> {
    e.array(topics.len() as u64)?;
    topics.values().try_for_each(|topic| topic.encode(e, ctx))
}

fn stored_quotas(quotas: &Quotas) -> Vec<StoredQuotas> {
    let stored = |(entity, values): (_, &Arc<QuotaValues>)| StoredQuotas {
        entity: Clone::clone(entity),
        values: QuotaValues::clone(values),
    };
    quotas.iter().map(stored).collect()
}

fn quotas(stored: Vec<StoredQuotas>) -> Quotas {
    stored.into_iter().map(|StoredQuotas { entity, values }| (entity, Arc::new(values))).collect()
}

fn stored_broker_configs(image: &Image) -> Vec<StoredBrokerConfig> {
    let stored = |(node, settings): (&Option<NodeId>, &Arc<BTreeMap<_, _>>)| StoredBrokerConfig {
        node: *node,
        settings: BTreeMap::clone(settings),
    };
    image.broker_configs.iter().map(stored).collect()
}

impl StoredImageRef<'_> {
    fn of(image: &Image) -> StoredImageRef<'_> {
        let node = |(id, node): (&NodeId, &Arc<NodeImage>)| StoredNode {
            id: *id,
            image: NodeImage::clone(node),
            state: image.node_state(*id).unwrap_or_default(),
        };
        StoredImageRef {
            version: image.version,
            cluster_id: image.cluster_id.as_deref(),
            nodes: image.nodes.iter().map(node).collect(),
            topics: &image.topics,
            next_producer_id: image.next_producer_id,
            features: image.features.iter().map(|(name, level)| (name.as_str(), *level)).collect(),
            quotas: (!image.quotas.is_empty()).then(|| stored_quotas(&image.quotas)),
            broker_configs: (!image.broker_configs.is_empty()).then(|| stored_broker_configs(image)),
        }
    }
}

impl StoredImage {
    fn into_image(self) -> Image {
        let mut image = Image {
            version: self.version,
            cluster_id: self.cluster_id.map(Arc::from),
            next_producer_id: self.next_producer_id,
            features: self.features.into_iter().collect(),
            quotas: quotas(self.quotas.unwrap_or_default()),
            broker_configs: self
                .broker_configs
                .unwrap_or_default()
                .into_iter()
                .map(|stored| (stored.node, Arc::new(stored.settings)))
                .collect(),
            ..Image::default()
        };
        for StoredNode { id, image: node, state } in self.nodes {
            image.nodes.insert(id, Arc::new(node));
            if state != NodeState::Active {
                image.node_states.insert(id, state);
            }
        }
        image.names = self.topics.iter().map(|t| (t.name.clone(), t.id)).collect();
        image.topics = self.topics.into_iter().map(|t| (t.id, t)).collect();
        image
    }
}
