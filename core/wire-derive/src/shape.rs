//! What a field's Rust type means on the wire.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::{Error, GenericArgument, PathArguments, Result, Type};

/// The wire type of a field, without its nullability.
pub enum Kind {
    /// Fixed size; the identifier is the schema's name of it.
    Scalar(&'static str),
    /// `string`
    Str,
    /// `bytes`
    Bytes,
    /// `records`
    Records,
    /// Another struct that derives `Wire`.
    Struct(TokenStream),
    /// An array of non-null elements.
    Array(Box<Kind>),
}

/// A field's type: its kind and whether the Rust type can be null.
pub struct Shape {
    pub kind: Kind,
    pub optional: bool,
}

impl Shape {
    pub fn of(ty: &Type) -> Result<Shape> {
        match argument(ty, "Option") {
            Some(some) => {
                let kind = Kind::of(some)?;
                if matches!(kind, Kind::Scalar(_)) {
                    return Err(Error::new_spanned(ty, "a number is never null on the wire"));
                }
                Ok(Shape { kind, optional: true })
            }
            None => Ok(Shape { kind: Kind::of(ty)?, optional: false }),
        }
    }
}

impl Kind {
    fn of(ty: &Type) -> Result<Kind> {
        if let Some(element) = argument(ty, "Vec") {
            return Ok(Kind::Array(Box::new(Kind::of(element)?)));
        }
        match ty {
            Type::Reference(reference) => match reference.elem.to_token_stream().to_string().as_str() {
                "str" => Ok(Kind::Str),
                "[u8]" | "[u8 ]" | "[ u8 ]" => Ok(Kind::Bytes),
                _ => Err(Error::new_spanned(ty, "only &str and &[u8] are borrowed from the input")),
            },
            Type::Path(path) => {
                let last = path.path.segments.last().expect("a path has a segment");
                Ok(match last.ident.to_string().as_str() {
                    "bool" => Kind::Scalar("Bool"),
                    "i8" => Kind::Scalar("Int8"),
                    "i16" | "ErrorCode" => Kind::Scalar("Int16"),
                    "u16" => Kind::Scalar("Uint16"),
                    "i32" => Kind::Scalar("Int32"),
                    "i64" => Kind::Scalar("Int64"),
                    "f64" => Kind::Scalar("Float64"),
                    "TopicId" => Kind::Scalar("Uuid"),
                    "Records" => Kind::Records,
                    "Option" => return Err(Error::new_spanned(ty, "elements of an array are never null")),
                    _ => Kind::Struct(without_arguments(&path.path)),
                })
            }
            _ => Err(Error::new_spanned(ty, "not a wire type")),
        }
    }

    /// The expression of type `schema::Type` that describes this kind.
    pub fn schema(&self) -> TokenStream {
        match self {
            Kind::Scalar(name) => {
                let name = quote::format_ident!("{name}");
                quote!(crate::schema::Type::#name)
            }
            Kind::Str => quote!(crate::schema::Type::String),
            Kind::Bytes => quote!(crate::schema::Type::Bytes),
            Kind::Records => quote!(crate::schema::Type::Records),
            Kind::Struct(path) => quote!(crate::schema::Type::Struct(#path::STRUCT)),
            Kind::Array(element) => {
                let element = element.schema();
                quote!(crate::schema::Type::Array(&#element))
            }
        }
    }
}

/// `T` of `Wrapper<T>`.
fn argument<'t>(ty: &'t Type, wrapper: &str) -> Option<&'t Type> {
    let Type::Path(path) = ty else { return None };
    let last = path.path.segments.last()?;
    if last.ident != wrapper {
        return None;
    }
    let PathArguments::AngleBracketed(arguments) = &last.arguments else { return None };
    arguments.args.iter().find_map(|argument| match argument {
        GenericArgument::Type(ty) => Some(ty),
        _ => None,
    })
}

/// `a::B` of `a::B<'x>`.
fn without_arguments(path: &syn::Path) -> TokenStream {
    let mut path = path.clone();
    for segment in &mut path.segments {
        segment.arguments = PathArguments::None;
    }
    path.to_token_stream()
}
