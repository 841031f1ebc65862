//! What a holder that gives a shard back knows of the copies in it, for the next one: which versions hold what their marks say.
//! Such a claim is about versions and never about time, so it can be late, but not wrong (decision 0023).

use sha2::{Digest as _, Sha256};

use crate::controller::cache::index::Cache;
use crate::rules::record::ObjectKey;
use crate::rules::shard::{SHARDS, Shard};
use crate::rules::uid::Uid;

/// So many copies may be named that are not part of the claim. Where there are more, nothing is claimed.
const MOST_NAMED: usize = 8;

/// The copies in one shard: how many are claimed, a sum over their UIDs and versions, and the others by UID.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Claim {
    count: u64,
    sum: u128,
    /// Copies that are not claimed, sorted.
    named: Vec<Uid>,
}

impl Claim {
    fn add(&mut self, uid: Uid, rv: u64) {
        let hash = Sha256::new().chain_update(uid.to_string()).chain_update(rv.to_be_bytes()).finalize();
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hash[..16]);
        self.count += 1;
        self.sum = self.sum.wrapping_add(u128::from_be_bytes(bytes));
    }

    fn write(&self) -> String {
        let named = self.named.iter().map(Uid::to_string).collect::<Vec<_>>().join(",");
        format!("{}/{:032x}/{named}", self.count, self.sum)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('/');
        let (count, sum, named) = (parts.next()?, parts.next()?, parts.next()?);
        let named = named.split(',').filter(|uid| !uid.is_empty()).map(Uid::parse).collect::<Option<Vec<Uid>>>()?;
        let claim = Self { count: count.parse().ok()?, sum: u128::from_str_radix(sum, 16).ok()?, named };
        (claim.named.len() <= MOST_NAMED && parts.next().is_none()).then_some(claim)
    }
}

impl Cache {
    /// What this replica claims of the copies in a shard that it gives back; `None`: nothing.
    pub fn digest(&self, shard: Shard) -> Option<String> {
        let mut claim = Claim::default();
        self.each_copy_in(
            |of| of == shard,
            |_, uid, rv, proven| match proven {
                true => claim.add(uid, rv),
                false => claim.named.push(uid),
            },
        );
        claim.named.sort_unstable();
        (claim.count > 0 && claim.named.len() <= MOST_NAMED).then(|| claim.write())
    }

    /// Takes over what former holders claimed of the copies in their shards, where this replica sees the same versions.
    pub fn prove_by_digests(&self, digest_of: impl Fn(Shard) -> Option<String>) {
        let claims: Vec<Option<Claim>> =
            Shard::all().map(|shard| digest_of(shard).and_then(|text| Claim::parse(&text))).collect();
        if claims.iter().all(Option::is_none) {
            return;
        }
        let mut seen = vec![Claim::default(); SHARDS];
        let claimed = |shard: Shard| claims[shard.index()].as_ref();
        self.each_copy_in(
            |shard| claimed(shard).is_some(),
            |shard, uid, rv, _| match claimed(shard).is_some_and(|claim| claim.named.contains(&uid)) {
                true => seen[shard.index()].named.push(uid),
                false => seen[shard.index()].add(uid, rv),
            },
        );
        let holds = |shard: Shard| {
            claimed(shard).is_some_and(|claim| {
                let seen = &seen[shard.index()];
                (claim.count, claim.sum) == (seen.count, seen.sum)
            })
        };
        self.prove(|shard, uid| holds(shard) && claimed(shard).is_some_and(|claim| !claim.named.contains(&uid)));
    }

    /// Calls `visit` with shard, UID and version of each copy in these shards, and whether it is proven.
    fn each_copy_in(&self, shards: impl Fn(Shard) -> bool, mut visit: impl FnMut(Shard, Uid, u64, bool)) {
        for copies in &self.cluster.copies {
            for (namespace, here) in copies.value() {
                let Some(shard) = self.namespace(namespace).map(|it| Shard::of(it.uid)).filter(|it| shards(*it)) else {
                    continue;
                };
                for (name, record) in here {
                    let key = ObjectKey { namespace: namespace.clone(), name: name.clone() };
                    let Some(meta) = self.configmap(&key) else { continue };
                    visit(shard, meta.version.uid, meta.version.rv, record.proven && record.rv == meta.version.rv);
                }
            }
        }
    }

    fn prove(&self, which: impl Fn(Shard, Uid) -> bool) {
        for mut copies in self.cluster.copies.iter_mut() {
            for (namespace, here) in copies.value_mut() {
                let Some(shard) = self.namespace(namespace).map(|it| Shard::of(it.uid)) else { continue };
                for (name, record) in here {
                    let key = ObjectKey { namespace: namespace.clone(), name: name.clone() };
                    let meta = self.configmap(&key);
                    record.proven |=
                        meta.is_some_and(|meta| meta.version.rv == record.rv && which(shard, meta.version.uid));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::cache::Told;
    use crate::kubernetes::decode::ConfigMapRecord;
    use crate::rules::cluster::record::CopyRecord;
    use crate::rules::record::{ConfigMapMeta, Namespace};
    use crate::rules::testing::{mark, meta, object_key, uid};

    /// A replica that sees copies with these versions, all in one namespace.
    fn seeing(versions: &[u64], told: Told) -> Cache {
        let cache = Cache::default();
        cache.namespace_applied("n", Namespace { uid: uid(100), terminating: false, refuses: false }, &mut Vec::new());
        for (number, rv) in versions.iter().enumerate() {
            let mark = mark("/all", Some(1), Some(100));
            let meta = ConfigMapMeta { mark: Some(mark), ..meta(10 + number as u64, *rv) };
            let content = Some(CopyRecord { content: 7, written: 1, rv: *rv, proven: false });
            let record = ConfigMapRecord { key: object_key(&format!("n/c{number}")), meta, content };
            cache.configmap_applied(record, told, &mut Vec::new(), &mut Vec::new());
        }
        cache
    }

    fn proven(cache: &Cache) -> Vec<bool> {
        (0..)
            .map_while(|number| cache.copy_record(uid(1), &object_key(&format!("n/c{number}"))))
            .map(|it| it.proven)
            .collect()
    }

    fn prove(cache: &Cache, digest: Option<&str>) -> Vec<bool> {
        let shard = Shard::of(uid(100));
        cache.prove_by_digests(|of| digest.filter(|_| of == shard).map(str::to_owned));
        proven(cache)
    }

    #[test]
    fn the_next_holder_knows_what_the_last_one_knew() {
        let former = seeing(&[11, 12, 13], Told::ChangedElsewhere);
        assert_eq!(proven(&former), [true; 3], "it saw its holder write them");
        let digest = former.digest(Shard::of(uid(100))).unwrap();
        assert_eq!(former.digest(Shard::all().find(|it| *it != Shard::of(uid(100))).unwrap()), None);
        let next = seeing(&[11, 12, 13], Told::Listed);
        assert_eq!(proven(&next), [false; 3], "a list tells nothing of what was before");
        assert_eq!(prove(&next, None), [false; 3]);
        assert_eq!(prove(&next, Some("nonsense")), [false; 3]);
        assert_eq!(prove(&next, Some(&digest)), [true; 3]);
    }

    #[test]
    fn one_copy_that_was_touched_or_is_missing_voids_the_claim() {
        let digest = seeing(&[11, 12, 13], Told::ChangedElsewhere).digest(Shard::of(uid(100))).unwrap();
        for versions in [&[11, 12, 14][..], &[11, 12], &[11, 12, 13, 14]] {
            assert!(prove(&seeing(versions, Told::Listed), Some(&digest)).iter().all(|proven| !proven), "{versions:?}");
        }
    }

    #[test]
    fn what_the_last_holder_did_not_know_is_named() {
        let former = seeing(&[11, 12, 13], Told::Listed);
        former.note_proven(uid(1), &object_key("n/c0"), 11, 7);
        former.note_proven(uid(1), &object_key("n/c2"), 13, 7);
        let digest = former.digest(Shard::of(uid(100))).unwrap();
        assert_eq!(prove(&seeing(&[11, 12, 13], Told::Listed), Some(&digest)), [true, false, true]);
        assert_eq!(prove(&seeing(&[11, 15, 13], Told::Listed), Some(&digest)), [true, false, true]);
        let many: Vec<u64> = (20..40).collect();
        let former = seeing(&many, Told::Listed);
        former.note_proven(uid(1), &object_key("n/c0"), 20, 7);
        assert_eq!(former.digest(Shard::of(uid(100))), None, "too many are not known");
    }
}
