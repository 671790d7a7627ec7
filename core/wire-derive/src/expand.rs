//! Writes the impls of one struct.

use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::{Data, DeriveInput, Error, Fields, Ident, Lifetime, Result, Type};

use crate::attrs::{DefaultValue, FieldAttrs, MessageAttrs, Versions, parse_field, parse_struct};
use crate::shape::{Kind, Shape};

/// One field with all that is known about it.
struct Field<'t> {
    ident: &'t Ident,
    ty: &'t Type,
    shape: Shape,
    attrs: FieldAttrs,
    /// Kafka's name.
    name: String,
}

/// The whole expansion of `#[derive(Wire)]` for `input`.
pub fn expand(input: &DeriveInput) -> Result<TokenStream> {
    let Data::Struct(data) = &input.data else {
        return Err(Error::new_spanned(&input.ident, "Wire is for structs"));
    };
    let Fields::Named(named) = &data.fields else {
        return Err(Error::new_spanned(&input.ident, "Wire is for structs with named fields"));
    };
    let attrs = parse_struct(&input.ident, &input.attrs)?;
    let fields = named.named.iter().map(field).collect::<Result<Vec<_>>>()?;
    let lifetime = input.generics.lifetimes().next().map(|param| param.lifetime.clone());

    let name = attrs.name.as_ref().map_or_else(|| input.ident.to_string(), |name| name.value());
    let defaults = default_impl(&input.ident, lifetime.as_ref(), &fields);
    let decode = decode_impl(&input.ident, lifetime.as_ref(), &fields);
    let encode = encode_impl(&input.ident, lifetime.as_ref(), &fields);
    let schema = schema_impl(&input.ident, lifetime.as_ref(), &name, &fields);
    let message =
        attrs.message.as_ref().map(|message| message_impl(&input.ident, lifetime.as_ref(), &name, message));
    Ok(quote! { #defaults #decode #encode #schema #message })
}

fn field(field: &syn::Field) -> Result<Field<'_>> {
    let ident = field.ident.as_ref().expect("named fields have names");
    let (shape, attrs) = (Shape::of(&field.ty)?, parse_field(&field.attrs)?);
    let is_records = matches!(shape.kind, Kind::Records);
    let complaint = if shape.optional == attrs.nullable.is_empty() {
        Some("the type is Option<_> exactly when `nullable` names versions")
    } else if is_records && !shape.optional {
        Some("records are Option<Records>")
    } else if matches!(attrs.default, DefaultValue::Null) && !shape.optional {
        Some("only a nullable field can default to null")
    } else if matches!(attrs.default, DefaultValue::Literal(_))
        && !matches!(shape.kind, Kind::Scalar(_) | Kind::Str)
    {
        Some("a literal default is for numbers, bool and strings")
    } else if matches!(attrs.default, DefaultValue::Literal(_)) && shape.optional {
        Some("a nullable field defaults to null or to empty")
    } else {
        None
    };
    if let Some(complaint) = complaint {
        return Err(Error::new_spanned(field, complaint));
    }
    let name = attrs.name.as_ref().map_or_else(|| upper_camel_case(&ident.to_string()), |name| name.value());
    Ok(Field { ident, ty: &field.ty, shape, attrs, name })
}

/// `topic_data` as `TopicData`.
fn upper_camel_case(snake: &str) -> String {
    let mut out = String::new();
    for word in snake.split('_') {
        let mut letters = word.chars();
        out.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        out.push_str(letters.as_str());
    }
    out
}

impl Field<'_> {
    /// True at run time when the field is in `version`; `None` when it always is.
    fn present(&self) -> Option<TokenStream> {
        within(self.attrs.versions, Versions::ALL)
    }

    /// True at run time when null is allowed, given that the field is present.
    fn null_allowed(&self) -> TokenStream {
        within(self.attrs.nullable, self.attrs.versions).unwrap_or_else(|| quote!(true))
    }

    fn is_tagged(&self) -> bool {
        self.attrs.tag.is_some()
    }

    /// True for types whose implied default is null.
    fn implies_null(&self) -> bool {
        matches!(self.shape.kind, Kind::Records) || matches!(self.attrs.default, DefaultValue::Null)
    }

    fn default_value(&self) -> TokenStream {
        if self.implies_null() {
            return quote!(::core::option::Option::None);
        }
        match &self.attrs.default {
            DefaultValue::Literal(value) => quote!(#value),
            _ if self.shape.optional => {
                quote!(::core::option::Option::Some(::core::default::Default::default()))
            }
            _ => quote!(::core::default::Default::default()),
        }
    }

    fn is_default(&self) -> TokenStream {
        let ident = self.ident;
        if self.implies_null() {
            return quote!(self.#ident.is_none());
        }
        match (&self.attrs.default, &self.shape.kind) {
            (DefaultValue::Literal(value), _) => quote!(self.#ident == #value),
            (_, Kind::Array(_) | Kind::Str | Kind::Bytes) if self.shape.optional => {
                quote!(self.#ident.as_ref().is_some_and(|value| value.is_empty()))
            }
            (_, Kind::Array(_) | Kind::Str | Kind::Bytes) => quote!(self.#ident.is_empty()),
            _ => {
                let default = self.default_value();
                quote!(self.#ident == #default)
            }
        }
    }

    fn read(&self) -> TokenStream {
        let allowed = self.null_allowed();
        match (&self.shape.kind, self.shape.optional) {
            (Kind::Records, _) => quote!(d.records(#allowed)?),
            (Kind::Str, true) => quote!(d.nullable_string(#allowed)?),
            (Kind::Bytes, true) => quote!(d.nullable_bytes(#allowed)?),
            (Kind::Array(_), true) => quote!(d.nullable_array(#allowed)?),
            (Kind::Array(_), false) => quote!(d.array()?),
            (Kind::Struct(_), true) => quote!(d.nullable_struct(#allowed)?),
            _ => quote!(crate::Decode::decode(d)?),
        }
    }

    fn write(&self) -> TokenStream {
        let (ident, allowed) = (self.ident, self.null_allowed());
        match (&self.shape.kind, self.shape.optional) {
            (Kind::Records, _) => quote!(e.records(self.#ident.as_ref(), #allowed)?),
            (Kind::Str, true) => quote!(e.nullable_string(self.#ident, #allowed)?),
            (Kind::Bytes, true) => quote!(e.nullable_bytes(self.#ident, #allowed)?),
            (Kind::Array(_), true) => quote!(e.nullable_array(self.#ident.as_deref(), #allowed)?),
            (Kind::Array(_), false) => quote!(e.array(&self.#ident)?),
            (Kind::Struct(_), true) => quote!(e.nullable_struct(self.#ident.as_ref(), #allowed)?),
            _ => quote!(crate::Encode::encode(&self.#ident, e)?),
        }
    }

    /// Bytes that the field takes at least, given that it is present.
    fn min_size(&self) -> TokenStream {
        match (&self.shape.kind, self.shape.optional) {
            (Kind::Str, _) => quote!(if flexible { 1 } else { 2 }),
            (Kind::Bytes | Kind::Records | Kind::Array(_), _) => quote!(if flexible { 1 } else { 4 }),
            (Kind::Struct(_), true) => quote!(1),
            _ => {
                let ty = self.ty;
                quote!(<#ty as crate::Decode>::min_size(version, flexible))
            }
        }
    }
}

/// The run-time condition "`version` is in `versions`", given that it is in `known`; `None` when that is certain.
fn within(versions: Versions, known: Versions) -> Option<TokenStream> {
    let Versions { first, last } = versions;
    if versions.covers(known) {
        None
    } else if versions.is_empty() {
        Some(quote!(false))
    } else if first == last {
        Some(quote!(version == #first))
    } else if first <= known.first {
        Some(quote!(version <= #last))
    } else if last >= known.last {
        Some(quote!(version >= #first))
    } else {
        Some(quote!((#first..=#last).contains(&version)))
    }
}

fn self_type(ident: &Ident, lifetime: Option<&Lifetime>) -> TokenStream {
    match lifetime {
        Some(lifetime) => quote!(#ident<#lifetime>),
        None => quote!(#ident),
    }
}

fn impl_generics(lifetime: Option<&Lifetime>) -> TokenStream {
    lifetime.map_or_else(TokenStream::new, |lifetime| quote!(<#lifetime>))
}

fn default_impl(ident: &Ident, lifetime: Option<&Lifetime>, fields: &[Field]) -> TokenStream {
    let (generics, this) = (impl_generics(lifetime), self_type(ident, lifetime));
    let values = fields.iter().map(|field| {
        let (ident, value) = (field.ident, field.default_value());
        quote!(#ident: #value)
    });
    quote! {
        #[automatically_derived]
        impl #generics ::core::default::Default for #this {
            fn default() -> Self {
                Self { #(#values),* }
            }
        }
    }
}

fn decode_impl(ident: &Ident, lifetime: Option<&Lifetime>, fields: &[Field]) -> TokenStream {
    let this = self_type(ident, lifetime);
    let input = lifetime.cloned().unwrap_or_else(|| Lifetime::new("'de", Span::call_site()));
    let plain = || fields.iter().filter(|field| !field.is_tagged());

    let sizes = plain().map(|field| {
        let size = field.min_size();
        match field.present() {
            Some(present) => quote!(if #present { size += #size; }),
            None => quote!(size += #size;),
        }
    });
    let reads = plain().map(|field| {
        let (ident, name, read) = (field.ident, &field.name, field.read());
        let read = quote! { d.at(#name); out.#ident = #read; };
        match field.present() {
            Some(present) => quote!(if #present { #read }),
            None => read,
        }
    });
    let tags = fields.iter().filter(|field| field.is_tagged()).map(|field| {
        let (ident, name, read, tag) = (field.ident, &field.name, field.read(), field.attrs.tag);
        let guard = field.present().map(|present| quote!(if #present));
        quote!(#tag #guard => { d.at(#name); out.#ident = #read; })
    });
    quote! {
        #[automatically_derived]
        impl<#input> crate::Decode<#input> for #this {
            #[allow(unused_variables)]
            fn min_size(version: i16, flexible: bool) -> usize {
                let mut size = usize::from(flexible);
                #(#sizes)*
                size
            }

            fn decode(d: &mut crate::Decoder<#input>) -> ::core::result::Result<Self, crate::DecodeError> {
                #[allow(unused_variables)]
                let version = d.version();
                let mut out = Self::default();
                #(#reads)*
                if d.flexible() {
                    let count = d.tag_count()?;
                    for _ in 0..count {
                        let tag = d.begin_tag()?;
                        match tag.number() {
                            #(#tags)*
                            _ => d.skip_tag(),
                        }
                        d.end_tag(tag)?;
                    }
                }
                ::core::result::Result::Ok(out)
            }
        }
    }
}

fn encode_impl(ident: &Ident, lifetime: Option<&Lifetime>, fields: &[Field]) -> TokenStream {
    let (generics, this) = (impl_generics(lifetime), self_type(ident, lifetime));
    let writes = fields.iter().filter(|field| !field.is_tagged()).map(|field| {
        let (name, write) = (&field.name, field.write());
        let Some(present) = field.present() else {
            return quote! { e.at(#name); #write; };
        };
        if field.attrs.ignorable {
            return quote! { if #present { e.at(#name); #write; } };
        }
        let is_default = field.is_default();
        quote! {
            e.at(#name);
            if #present { #write; } else if !(#is_default) { return ::core::result::Result::Err(e.unsupported()); }
        }
    });

    let mut tagged: Vec<&Field> = fields.iter().filter(|field| field.is_tagged()).collect();
    tagged.sort_by_key(|field| field.attrs.tag);
    let refusals = tagged.iter().filter(|field| !field.attrs.ignorable).map(|field| {
        let (name, is_default) = (&field.name, field.is_default());
        let present = field.present().unwrap_or_else(|| quote!(true));
        quote! {
            if !(e.flexible() && #present) && !(#is_default) {
                e.at(#name);
                return ::core::result::Result::Err(e.unsupported());
            }
        }
    });
    let wanted = |field: &Field| {
        let is_default = field.is_default();
        match field.present() {
            Some(present) => quote!(#present && !(#is_default)),
            None => quote!(!(#is_default)),
        }
    };
    let counts = tagged.iter().map(|field| {
        let wanted = wanted(field);
        quote!(+ u32::from(#wanted))
    });
    let tag_writes = tagged.iter().map(|field| {
        let (name, write, tag, wanted) = (&field.name, field.write(), field.attrs.tag, wanted(field));
        quote! {
            if #wanted {
                e.at(#name);
                let tag = e.begin_tag(#tag);
                #write;
                e.end_tag(tag)?;
            }
        }
    });
    quote! {
        #[automatically_derived]
        impl #generics crate::Encode for #this {
            fn encode(&self, e: &mut crate::Encoder) -> ::core::result::Result<(), crate::EncodeError> {
                #[allow(unused_variables)]
                let version = e.version();
                #(#writes)*
                #(#refusals)*
                if e.flexible() {
                    e.tag_count(0u32 #(#counts)*);
                    #(#tag_writes)*
                }
                ::core::result::Result::Ok(())
            }
        }
    }
}

fn schema_impl(ident: &Ident, lifetime: Option<&Lifetime>, name: &str, fields: &[Field]) -> TokenStream {
    let (generics, this) = (impl_generics(lifetime), self_type(ident, lifetime));
    let fields = fields.iter().map(|field| {
        let (name, ty) = (&field.name, field.shape.kind.schema());
        let (versions, nullable) = (range(field.attrs.versions), range(field.attrs.nullable));
        let (ignorable, default) = (field.attrs.ignorable, default_schema(field));
        let tag = match field.attrs.tag {
            Some(tag) => quote!(::core::option::Option::Some(#tag)),
            None => quote!(::core::option::Option::None),
        };
        quote! {
            crate::schema::Field {
                name: #name,
                ty: #ty,
                versions: #versions,
                nullable: #nullable,
                tag: #tag,
                ignorable: #ignorable,
                default: #default,
            }
        }
    });
    quote! {
        #[automatically_derived]
        impl #generics #this {
            /// Static description of this struct.
            pub const STRUCT: &'static crate::schema::Struct = &crate::schema::Struct {
                name: #name,
                heap_size: ::core::mem::size_of::<Self>(),
                fields: &[#(#fields),*],
            };
        }
    }
}

fn default_schema(field: &Field) -> TokenStream {
    match &field.attrs.default {
        _ if field.implies_null() => quote!(crate::schema::Default::Null),
        DefaultValue::Literal(value) => match &field.shape.kind {
            Kind::Scalar("Bool") => quote!(crate::schema::Default::Bool(#value)),
            Kind::Scalar("Float64") => quote!(crate::schema::Default::Float(#value)),
            Kind::Scalar(_) => quote!(crate::schema::Default::Int(#value as i64)),
            _ => quote!(crate::schema::Default::Text(#value)),
        },
        _ => quote!(crate::schema::Default::Empty),
    }
}

fn message_impl(
    ident: &Ident,
    lifetime: Option<&Lifetime>,
    name: &str,
    message: &MessageAttrs,
) -> TokenStream {
    let (generics, this) = (impl_generics(lifetime), self_type(ident, lifetime));
    let (key, response) = (&message.key, message.response);
    let (versions, flexible) = (range(message.versions), range(message.flexible));
    quote! {
        #[automatically_derived]
        impl #generics crate::Message for #this {
            const SCHEMA: &'static crate::schema::Message = &crate::schema::Message {
                name: #name,
                key: #key,
                response: #response,
                versions: #versions,
                flexible: #flexible,
                body: Self::STRUCT,
            };
        }
    }
}

fn range(versions: Versions) -> TokenStream {
    let Versions { first, last } = versions;
    quote!(crate::schema::Versions { first: #first, last: #last })
}
