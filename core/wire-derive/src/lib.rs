//! `#[derive(Wire)]`: one declaration of a Kafka message becomes its codec for every version and both directions.
//!
//! The macro reads a struct whose fields stand in wire order and writes, in terms of `buslane_wire`'s `Encoder`,
//! `Decoder` and schema types:
//!
//! * `Default` with Kafka's default values (a nullable field without `default = null` starts empty, not null),
//! * `Decode` and `Encode` for any version the struct covers,
//! * `Struct::SCHEMA`, the static description that tests compare with Kafka's own definitions,
//! * for a top-level message also `Message` (key, direction, versions, flexible from).
//!
//! ```text
//! #[derive(Debug, Clone, PartialEq, Wire)]
//! #[wire(request, key = 10, versions = "0-6", flexible = "3+")]      // only on a top-level message
//! pub struct FindCoordinatorRequest<'a> {
//!     #[wire(versions = "0-3")]                                      // default "0+"
//!     pub key: &'a str,
//!     #[wire(versions = "1+")]
//!     pub key_type: i8,
//!     #[wire(versions = "4+")]
//!     pub coordinator_keys: Vec<&'a str>,
//! }
//! ```
//!
//! Field attributes: `versions`, `nullable` (the versions in which null is allowed; the type is then `Option<_>`),
//! `default` (a literal or `null`), `ignorable` (a value the version cannot carry is dropped instead of refused),
//! `tag` (a tagged field, in all its versions), `name` (Kafka's name, where upper camel case of ours is not it).
//!
//! Field types: `bool i8 i16 u16 i32 i64 f64 TopicId ErrorCode &str &[u8] Records`, another `Wire` struct, `Vec` of any of
//! these, and `Option` of a string, bytes, records, struct or `Vec`.
//!
//! The expansion names the codec's items `crate::`: another crate than `buslane-wire` imports them at its root.

mod attrs;
mod expand;
mod shape;

use proc_macro::TokenStream;

/// See the crate documentation.
#[proc_macro_derive(Wire, attributes(wire))]
pub fn derive_wire(input: TokenStream) -> TokenStream {
    let input = syn::parse_macro_input!(input as syn::DeriveInput);
    expand::expand(&input).unwrap_or_else(|error| error.to_compile_error()).into()
}
