//! The `#[wire(...)]` attributes of a message and of its fields.

use syn::{Attribute, Error, Expr, Ident, LitInt, LitStr, Result};

/// Inclusive range of versions as written: `"3+"`, `"0-12"`, `"5"`. Empty when `first > last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    /// First version.
    pub first: i16,
    /// Last version, `i16::MAX` for an open range.
    pub last: i16,
}

impl Versions {
    pub const ALL: Versions = Versions { first: 0, last: i16::MAX };
    pub const NONE: Versions = Versions { first: 0, last: -1 };

    pub fn is_empty(self) -> bool {
        self.first > self.last
    }

    /// True when every version of `other` is in `self`.
    pub fn covers(self, other: Versions) -> bool {
        self.first <= other.first && other.last <= self.last
    }

    fn parse(text: &LitStr) -> Result<Versions> {
        let value = text.value();
        let number = |part: &str| {
            part.parse::<i16>().ok().filter(|n| *n >= 0).ok_or_else(|| {
                Error::new(text.span(), "versions are written \"3+\", \"0-12\", \"5\" or \"none\"")
            })
        };
        let versions = if value == "none" {
            Versions::NONE
        } else if let Some(first) = value.strip_suffix('+') {
            Versions { first: number(first)?, last: i16::MAX }
        } else if let Some((first, last)) = value.split_once('-') {
            Versions { first: number(first)?, last: number(last)? }
        } else {
            let only = number(&value)?;
            Versions { first: only, last: only }
        };
        if versions.is_empty() && value != "none" {
            return Err(Error::new(text.span(), "the first version is above the last"));
        }
        Ok(versions)
    }
}

/// What `#[wire(request, key = .., versions = .., flexible = ..)]` says about a top-level message.
pub struct MessageAttrs {
    pub response: bool,
    pub key: LitInt,
    pub versions: Versions,
    pub flexible: Versions,
}

/// The attributes of a struct: `None` for a nested struct.
pub struct StructAttrs {
    pub message: Option<MessageAttrs>,
    /// Kafka's name, when the Rust name differs.
    pub name: Option<LitStr>,
}

pub fn parse_struct(ident: &Ident, attrs: &[Attribute]) -> Result<StructAttrs> {
    let (mut direction, mut key, mut versions, mut flexible, mut name) = (None, None, None, None, None);
    for attr in attrs.iter().filter(|a| a.path().is_ident("wire")) {
        attr.parse_nested_meta(|meta| {
            if meta.path.is_ident("request") {
                direction = Some(false);
            } else if meta.path.is_ident("response") {
                direction = Some(true);
            } else if meta.path.is_ident("key") {
                key = Some(meta.value()?.parse::<LitInt>()?);
            } else if meta.path.is_ident("versions") {
                versions = Some(Versions::parse(&meta.value()?.parse()?)?);
            } else if meta.path.is_ident("flexible") {
                flexible = Some(Versions::parse(&meta.value()?.parse()?)?);
            } else if meta.path.is_ident("name") {
                name = Some(meta.value()?.parse::<LitStr>()?);
            } else {
                return Err(meta.error("expected request, response, key, versions, flexible or name"));
            }
            Ok(())
        })?;
    }
    let message = match (direction, key, versions, flexible) {
        (None, None, None, None) => None,
        (Some(response), Some(key), Some(versions), Some(flexible)) => {
            Some(MessageAttrs { response, key, versions, flexible })
        }
        _ => {
            return Err(Error::new(
                ident.span(),
                "a top-level message needs request or response, key, versions and flexible",
            ));
        }
    };
    Ok(StructAttrs { message, name })
}

/// What `default = ..` says.
pub enum DefaultValue {
    /// Nothing written: zero, empty, false.
    Implied,
    /// `default = null`
    Null,
    /// A literal.
    Literal(Expr),
}

/// The attributes of a field.
pub struct FieldAttrs {
    pub versions: Versions,
    pub nullable: Versions,
    pub tag: Option<u32>,
    pub ignorable: bool,
    pub default: DefaultValue,
    pub name: Option<LitStr>,
}

pub fn parse_field(attrs: &[Attribute]) -> Result<FieldAttrs> {
    let mut out = FieldAttrs {
        versions: Versions::ALL,
        nullable: Versions::NONE,
        tag: None,
        ignorable: false,
        default: DefaultValue::Implied,
        name: None,
    };
    for attr in attrs.iter().filter(|a| a.path().is_ident("wire")) {
        attr.parse_nested_meta(|meta| {
            if meta.path.is_ident("versions") {
                out.versions = Versions::parse(&meta.value()?.parse()?)?;
            } else if meta.path.is_ident("nullable") {
                out.nullable = Versions::parse(&meta.value()?.parse()?)?;
            } else if meta.path.is_ident("tag") {
                out.tag = Some(meta.value()?.parse::<LitInt>()?.base10_parse()?);
            } else if meta.path.is_ident("ignorable") {
                out.ignorable = true;
            } else if meta.path.is_ident("default") {
                let value: Expr = meta.value()?.parse()?;
                out.default = match &value {
                    Expr::Path(path) if path.path.is_ident("null") => DefaultValue::Null,
                    _ => DefaultValue::Literal(value),
                };
            } else if meta.path.is_ident("name") {
                out.name = Some(meta.value()?.parse::<LitStr>()?);
            } else {
                return Err(meta.error("expected versions, nullable, tag, ignorable, default or name"));
            }
            Ok(())
        })?;
    }
    Ok(out)
}
