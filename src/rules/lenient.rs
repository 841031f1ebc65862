//! Fields that are decoded whatever they hold: decoding never fails for what an object holds. Text is borrowed, and a text
//! without escapes allocates nothing.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// A field that should hold a scalar.
#[derive(Clone, PartialEq, Debug, Default)]
pub enum Field<'a> {
    /// It is not there, or null.
    #[default]
    Absent,
    /// A string.
    Text(Cow<'a, str>),
    /// A whole number.
    Number(i64),
    /// `true` or `false`.
    Bool(bool),
    /// Something else.
    Other,
}

/// A field that should hold an object.
#[derive(Clone, PartialEq, Debug, Default)]
pub enum Shaped<T> {
    /// It is not there, or null.
    #[default]
    Absent,
    /// An object.
    Is(T),
    /// Something else.
    Other,
}

/// A field that should hold a list.
#[derive(Clone, PartialEq, Debug)]
pub enum Listed<T> {
    /// A list; an empty one where the field is not there, or null.
    Of(Vec<T>),
    /// Something else.
    Other,
}

impl<T> Default for Listed<T> {
    fn default() -> Self {
        Self::Of(Vec::new())
    }
}

/// A field that holds something else than it should.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WrongType;

impl<'a> Field<'a> {
    /// The text, where it is one.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The text; an empty one where it is absent.
    ///
    /// # Errors
    /// When it holds something else.
    pub fn into_text(self) -> Result<Cow<'a, str>, WrongType> {
        match self {
            Self::Absent => Ok(Cow::Borrowed("")),
            Self::Text(text) => Ok(text),
            _ => Err(WrongType),
        }
    }

    /// The number, where it is not absent.
    ///
    /// # Errors
    /// When it holds something else.
    pub fn number(&self) -> Result<Option<i64>, WrongType> {
        match self {
            Self::Absent => Ok(None),
            Self::Number(number) => Ok(Some(*number)),
            _ => Err(WrongType),
        }
    }

    /// Whether it is true; not where it is absent.
    ///
    /// # Errors
    /// When it holds something else.
    pub fn bool(&self) -> Result<bool, WrongType> {
        match self {
            Self::Absent => Ok(false),
            Self::Bool(value) => Ok(*value),
            _ => Err(WrongType),
        }
    }
}

impl<T> Shaped<T> {
    /// The object, where it is not absent.
    ///
    /// # Errors
    /// When it holds something else.
    pub fn object(self) -> Result<Option<T>, WrongType> {
        match self {
            Self::Absent => Ok(None),
            Self::Is(object) => Ok(Some(object)),
            Self::Other => Err(WrongType),
        }
    }
}

impl<T> Listed<T> {
    /// What it lists.
    ///
    /// # Errors
    /// When it holds something else.
    pub fn items(self) -> Result<Vec<T>, WrongType> {
        match self {
            Self::Of(items) => Ok(items),
            Self::Other => Err(WrongType),
        }
    }
}

/// What a kind of field makes of each kind of value.
trait Make<'de>: Default {
    const OTHER: Self;
    fn text(_: Cow<'de, str>) -> Self {
        Self::OTHER
    }
    fn number(_: Option<i64>) -> Self {
        Self::OTHER
    }
    fn bool(_: bool) -> Self {
        Self::OTHER
    }
    fn list<A: SeqAccess<'de>>(mut list: A) -> Result<Self, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Self::OTHER)
    }
    fn map<A: MapAccess<'de>>(mut map: A) -> Result<Self, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Self::OTHER)
    }
}

impl<'de: 'a, 'a> Make<'de> for Field<'a> {
    const OTHER: Self = Self::Other;
    fn text(text: Cow<'de, str>) -> Self {
        Self::Text(text)
    }
    fn number(number: Option<i64>) -> Self {
        number.map_or(Self::Other, Self::Number)
    }
    fn bool(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl<'de, T: Deserialize<'de>> Make<'de> for Shaped<T> {
    const OTHER: Self = Self::Other;
    fn map<A: MapAccess<'de>>(map: A) -> Result<Self, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Self::Is)
    }
}

impl<'de, T: Deserialize<'de>> Make<'de> for Listed<T> {
    const OTHER: Self = Self::Other;
    fn list<A: SeqAccess<'de>>(mut list: A) -> Result<Self, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Self::Of(items))
    }
}

struct Any<M>(PhantomData<M>);

impl<'de, M: Make<'de>> Visitor<'de> for Any<M> {
    type Value = M;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }
    fn visit_unit<E>(self) -> Result<M, E> {
        Ok(M::default())
    }
    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<M, E> {
        Ok(M::text(Cow::Borrowed(text)))
    }
    fn visit_str<E>(self, text: &str) -> Result<M, E> {
        Ok(M::text(Cow::Owned(text.to_owned())))
    }
    fn visit_bool<E>(self, value: bool) -> Result<M, E> {
        Ok(M::bool(value))
    }
    fn visit_i64<E>(self, number: i64) -> Result<M, E> {
        Ok(M::number(Some(number)))
    }
    fn visit_u64<E>(self, number: u64) -> Result<M, E> {
        Ok(M::number(i64::try_from(number).ok()))
    }
    fn visit_f64<E>(self, _: f64) -> Result<M, E> {
        Ok(M::OTHER)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<M, A::Error> {
        M::list(list)
    }
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<M, A::Error> {
        M::map(map)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Field<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Any(PhantomData))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Shaped<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Any(PhantomData))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Listed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Any(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_stands_there_is_decoded() {
        let fields = r#"[null, "a", "\u0041", 5, -5, 18446744073709551615, 0.5, true, [1, {}], {"a": [2]}]"#;
        let texts = [Field::Text("a".into()), Field::Text("A".into())];
        let decoded: Vec<Field<'_>> = serde_json::from_str(fields).unwrap();
        assert_eq!(decoded[0], Field::Absent);
        assert_eq!(decoded[1..3], texts);
        assert!(matches!(decoded[1], Field::Text(Cow::Borrowed(_))));
        assert_eq!(decoded[3..5], [Field::Number(5), Field::Number(-5)]);
        assert_eq!(decoded[5..], [Field::Other, Field::Other, Field::Bool(true), Field::Other, Field::Other]);

        let shaped: Vec<Shaped<Listed<Field<'_>>>> = serde_json::from_str(r#"[null, 1, []]"#).unwrap();
        assert_eq!(shaped, [Shaped::Absent, Shaped::Other, Shaped::Other]);
        let listed: Vec<Listed<Field<'_>>> = serde_json::from_str(r#"[null, [1], {"a": 1}, "x"]"#).unwrap();
        assert_eq!(listed, [Listed::default(), Listed::Of(vec![Field::Number(1)]), Listed::Other, Listed::Other]);
    }
}
