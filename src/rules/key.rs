//! The unit of work: what the queue holds at most once, and what one task works on at a time.

use std::fmt;

use crate::rules::record::{Name, SlimArc};
use crate::rules::shard::Shard;
use crate::rules::uid::Uid;

/// What is worked on. Its shard says which replica does it. It takes no more room than a UID.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Key {
    /// An object, with this UID: its finalizer and its status. The one copy of a ConfigMapSync is worked on with it, since both
    /// fall into one shard.
    Object(Uid),
    /// One of the many copies that a ClusterConfigMapSync wants, in the shard of its namespace: all copies of that kind in one
    /// namespace have one writer.
    Copy(SlimArc<CopyKey>),
}

/// One of the many copies that an object wants.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct CopyKey {
    /// The object's UID.
    pub object: Uid,
    /// The namespace's UID.
    pub namespace: Uid,
    /// The namespace's name.
    pub name: Name,
}

impl Key {
    /// The UID of the object that wants the copies.
    pub fn object(&self) -> Uid {
        match self {
            Self::Object(object) => *object,
            Self::Copy(copy) => copy.object,
        }
    }

    /// The shard: that of the object, and for one of many copies that of its namespace.
    pub fn shard(&self) -> Shard {
        match self {
            Self::Object(object) => Shard::of(*object),
            Self::Copy(copy) => Shard::of(copy.namespace),
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Object(object) => write!(f, "{object}"),
            Self::Copy(copy) => write!(f, "{} in {}", copy.object, copy.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::testing::uid;

    #[test]
    fn each_copy_of_an_object_has_the_shard_of_its_namespace() {
        let object = uid(1);
        let copies = (0..100).map(|number| {
            Key::Copy(SlimArc::new(CopyKey { object, namespace: uid(number << 40 | 1), name: Name::new() }))
        });
        let shards: std::collections::BTreeSet<Shard> = copies.clone().map(|copy| copy.shard()).collect();
        assert!(shards.len() > 32, "a hundred namespaces fall into {} shards", shards.len());
        assert!(copies.clone().all(|copy| copy.object() == object));
        assert_eq!(Key::Object(object).shard(), Shard::of(object));
        assert_eq!(size_of::<Key>(), size_of::<Uid>(), "a burst of 100,000 keys costs no more than one of UIDs");
    }
}
