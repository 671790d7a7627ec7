//! How a section of the configuration is declared: one line a key, with its type, default and documentation.

use toml::de::DeValue;

/// What is known of a key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its section: `limits`.
    pub section: &'static str,
    /// Its name in the section: `memory`.
    pub name: &'static str,
    /// Kafka's name for the same thing, where there is one.
    pub kafka: Option<&'static str>,
    /// Its default, as it is written in a file.
    pub default: fn() -> String,
    /// What is right.
    pub takes: &'static str,
    /// For people.
    pub doc: &'static str,
}

impl Key {
    /// `limits.memory`.
    pub fn path(&self) -> String {
        format!("{}.{}", self.section, self.name)
    }
}

/// Where a value comes from.
#[derive(Clone, Copy, Debug)]
pub enum Given<'a> {
    /// A value of a file.
    Toml(&'a DeValue<'a>),
    /// Text of a command line.
    Text(&'a str),
}

/// A section: a struct whose fields are keys.
pub trait Section: Default {
    /// The keys in the order of their declaration.
    const KEYS: &'static [Key];

    /// Sets a key; the error says what would be right.
    ///
    /// # Panics
    /// When the section has no such key.
    fn set(&mut self, key: &str, given: Given<'_>) -> Result<(), String>;
}

/// Declares a section. A key is `name: Type = "default"`, then optionally `in lowest..=highest` (texts like the
/// default) and `kafka "its.name"`.
macro_rules! section {
    (
        $(#[doc = $section_doc:literal])+
        $section:ident $section_name:literal {
            $(
                $(#[doc = $doc:literal])+
                $key:ident: $ty:ty = $default:literal $(in $lowest:literal..=$highest:literal)?
                    $(kafka $kafka:literal)?;
            )+
        }
    ) => {
        $(#[doc = $section_doc])+
        #[derive(Clone, PartialEq, Debug)]
        pub struct $section {
            $($(#[doc = $doc])+ pub $key: $ty,)+
        }

        impl Default for $section {
            fn default() -> $section {
                $section { $($key: $crate::config::section::literal::<$ty>($default),)+ }
            }
        }

        impl $crate::config::section::Section for $section {
            const KEYS: &'static [$crate::config::section::Key] = &[
                $($crate::config::section::Key {
                    section: $section_name,
                    name: stringify!($key),
                    kafka: [$(Some($kafka),)? None][0],
                    default: || {
                        use $crate::config::value::ConfigValue;
                        $crate::config::section::literal::<$ty>($default).to_toml()
                    },
                    takes: <$ty as $crate::config::value::ConfigValue>::TAKES,
                    doc: concat!($($doc,)+),
                },)+
            ];

            fn set(&mut self, key: &str, given: $crate::config::section::Given<'_>) -> Result<(), String> {
                match key {
                    $(stringify!($key) => {
                        let value = $crate::config::section::read::<$ty>(given)?;
                        $({
                            let lowest = $crate::config::section::literal::<$ty>($lowest);
                            let highest = $crate::config::section::literal::<$ty>($highest);
                            if value < lowest || value > highest {
                                return Err(format!("must be from {} to {}", $lowest, $highest));
                            }
                        })?
                        self.$key = value;
                    })+
                    _ => unreachable!("section {} has no key {key}", $section_name),
                }
                Ok(())
            }
        }
    };
}
pub(super) use section;

use super::value::ConfigValue;

/// A value that stands in the declaration.
pub fn literal<T: ConfigValue>(text: &str) -> T {
    T::from_text(text).unwrap_or_else(|| panic!("the declared value {text:?} must be {}", T::TAKES))
}

/// A value that somebody gave.
pub fn read<T: ConfigValue>(given: Given<'_>) -> Result<T, String> {
    let (value, shown) = match given {
        Given::Toml(value) => (T::from_toml(value), shown(value)),
        Given::Text(text) => (T::from_text(text), format!("{text:?}")),
    };
    value.ok_or_else(|| format!("{shown} is not {}", T::TAKES))
}

/// A value as far as it helps to see it.
fn shown(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) if text.chars().count() > 60 => {
            format!("{:?}", text.chars().take(60).chain("...".chars()).collect::<String>())
        }
        DeValue::String(text) => format!("{text:?}"),
        DeValue::Boolean(value) => value.to_string(),
        DeValue::Integer(number) if number.radix() == 10 => number.as_str().to_owned(),
        other => format!("this {}", other.type_str()),
    }
}
