//! Copies as a watch from outside sees them come, change and go. The times are those of this process's own clock.
//!
//! What a copy holds is boiled down to an edition, a number that grows with each version of its source; whoever opens the
//! watch says how to tell it. A copy whose content is not what it should be has none, and so never counts as arrived.

use std::collections::{HashMap, HashSet};
use std::fmt::Debug;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use futures::{Stream, StreamExt as _};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Resource, ResourceExt as _};
use tokio::task::JoinHandle;

/// How often a wait looks. The times themselves are taken when an event comes in.
const LOOK: Duration = Duration::from_millis(20);

/// Where a copy stands: namespace and name.
pub type Place = (String, String);

/// When a copy was first seen with the edition that it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// What it holds.
    pub edition: u64,
    /// Since when.
    pub at: Instant,
}

/// An open watch. It ends when this is dropped.
#[derive(Debug)]
pub struct Copies {
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct State {
    seen: HashMap<Place, Sighting>,
    /// When those that are not there any more were seen going.
    gone: HashMap<Place, Instant>,
    listed: bool,
    /// Why the watch had to begin anew, the last time that it had to.
    trouble: Option<String>,
}

impl Copies {
    /// Watches ConfigMaps with this label, metadata only.
    ///
    /// # Errors
    /// When they cannot be listed within half a minute.
    pub async fn by_metadata(
        client: Client,
        selector: &str,
        edition: impl Fn(&PartialObjectMeta<ConfigMap>) -> Option<u64> + Send + 'static,
    ) -> anyhow::Result<Self> {
        let config = watcher::Config::default().labels(selector);
        Self::follow(watcher(Api::<PartialObjectMeta<ConfigMap>>::all(client), config), edition).await
    }

    /// Watches ConfigMaps with this label, with all that is in them.
    ///
    /// # Errors
    /// When they cannot be listed within half a minute.
    pub async fn with_content(
        client: Client,
        selector: &str,
        edition: impl Fn(&ConfigMap) -> Option<u64> + Send + 'static,
    ) -> anyhow::Result<Self> {
        let config = watcher::Config::default().labels(selector);
        Self::follow(watcher(Api::<ConfigMap>::all(client), config), edition).await
    }

    async fn follow<K: Resource + Debug + Send + 'static>(
        events: impl Stream<Item = watcher::Result<Event<K>>> + Send + 'static,
        edition: impl Fn(&K) -> Option<u64> + Send + 'static,
    ) -> anyhow::Result<Self> {
        let state = Arc::new(Mutex::new(State::default()));
        let task = tokio::spawn({
            let state = state.clone();
            async move {
                let mut events = pin!(events);
                let mut listing = HashSet::new();
                while let Some(event) = events.next().await {
                    take_in(&mut lock(&state), event, &mut listing, &edition);
                }
            }
        });
        let copies = Self { state, task };
        let deadline = Instant::now() + Duration::from_secs(30);
        while !lock(&copies.state).listed {
            if Instant::now() > deadline {
                let trouble = lock(&copies.state).trouble.take().unwrap_or_else(|| "no answer".to_owned());
                bail!("the copies cannot be watched: {trouble}");
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(copies)
    }

    /// The copy in this place as it was last seen, if it is there.
    pub fn seen(&self, place: &Place) -> Option<Sighting> {
        lock(&self.state).seen.get(place).copied()
    }

    /// How many of these copies have at least this edition.
    pub fn arrived<'a>(&self, wanted: impl IntoIterator<Item = (&'a Place, u64)>) -> usize {
        let state = lock(&self.state);
        wanted.into_iter().filter(|(place, edition)| has(&state, place, *edition)).count()
    }

    /// Waits until each of these copies has at least its edition, and returns when each was first seen so, in the order of
    /// `wanted`. `look` is called now and then with how many have arrived; its error ends the wait.
    ///
    /// # Errors
    /// When some have not arrived after `within`; the message names one of them.
    pub async fn all_arrived(
        &self,
        wanted: &[(Place, u64)],
        within: Duration,
        mut look: impl FnMut(usize) -> anyhow::Result<()>,
    ) -> anyhow::Result<Vec<Instant>> {
        let deadline = Instant::now() + within;
        loop {
            let arrived = self.arrived(wanted.iter().map(|(place, edition)| (place, *edition)));
            if arrived == wanted.len() {
                return self.sightings(wanted);
            }
            look(arrived)?;
            if Instant::now() > deadline {
                let state = lock(&self.state);
                let late = wanted.iter().find(|(place, edition)| !has(&state, place, *edition));
                let late = late.map(|((namespace, name), _)| format!("{namespace}/{name}")).unwrap_or_default();
                bail!(
                    "after {} s {arrived} of {} copies have arrived; {late} for one has not",
                    within.as_secs(),
                    wanted.len()
                );
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn sightings(&self, wanted: &[(Place, u64)]) -> anyhow::Result<Vec<Instant>> {
        let state = lock(&self.state);
        let at = |(place, _): &(Place, u64)| state.seen.get(place).map(|sighting| sighting.at);
        wanted.iter().map(at).collect::<Option<_>>().context("a copy went while the others were waited for")
    }

    /// Waits until none of these copies is left, and returns when each was seen going, in the order of `places`. `look` is
    /// called now and then with how many are left; its error ends the wait.
    ///
    /// # Errors
    /// When some are left after `within`; the message names one of them.
    pub async fn all_gone(
        &self,
        places: &[Place],
        within: Duration,
        mut look: impl FnMut(usize) -> anyhow::Result<()>,
    ) -> anyhow::Result<Vec<Instant>> {
        let deadline = Instant::now() + within;
        loop {
            let left = {
                let state = lock(&self.state);
                places.iter().filter(|place| state.seen.contains_key(*place)).count()
            };
            if left == 0 {
                let state = lock(&self.state);
                let gone = places.iter().map(|place| state.gone.get(place).copied());
                return gone.collect::<Option<_>>().context("a copy whose end was waited for was never there");
            }
            look(left)?;
            if Instant::now() > deadline {
                let state = lock(&self.state);
                let one = places.iter().find(|place| state.seen.contains_key(*place)).cloned().unwrap_or_default();
                bail!("after {} s {left} copies are still there; {}/{} is one", within.as_secs(), one.0, one.1);
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

impl Drop for Copies {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn has(state: &State, place: &Place, edition: u64) -> bool {
    state.seen.get(place).is_some_and(|sighting| sighting.edition >= edition)
}

fn take_in<K: Resource>(
    state: &mut State,
    event: watcher::Result<Event<K>>,
    listing: &mut HashSet<Place>,
    edition: &impl Fn(&K) -> Option<u64>,
) {
    match event {
        Ok(Event::Init) => listing.clear(),
        Ok(Event::InitApply(object)) => {
            listing.insert(place(&object));
            state.apply(&object, edition(&object));
        }
        Ok(Event::InitDone) => {
            let gone: Vec<Place> = state.seen.keys().filter(|place| !listing.contains(*place)).cloned().collect();
            gone.iter().for_each(|place| state.remove(place));
            state.listed = true;
        }
        Ok(Event::Apply(object)) => state.apply(&object, edition(&object)),
        Ok(Event::Delete(object)) => state.remove(&place(&object)),
        Err(error) => state.trouble = Some(error.to_string()),
    }
}

impl State {
    fn apply<K: Resource>(&mut self, object: &K, edition: Option<u64>) {
        let place = place(object);
        match edition {
            // Seen before with the same edition: the time of the first sighting stands.
            Some(edition) if self.seen.get(&place).is_some_and(|seen| seen.edition == edition) => {}
            Some(edition) => {
                self.gone.remove(&place);
                self.seen.insert(place, Sighting { edition, at: Instant::now() });
            }
            None => self.remove(&place),
        }
    }

    fn remove(&mut self, place: &Place) {
        if self.seen.remove(place).is_some() {
            self.gone.insert(place.clone(), Instant::now());
        }
    }
}

fn place(object: &impl Resource) -> Place {
    (object.namespace().unwrap_or_default(), object.name_any())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copy(name: &str) -> ConfigMap {
        let mut object = ConfigMap::default();
        object.metadata.name = Some(name.to_owned());
        object.metadata.namespace = Some("n".to_owned());
        object
    }

    #[test]
    fn a_new_list_forgets_what_is_gone_and_keeps_first_sightings() {
        let (mut state, mut listing) = (State::default(), HashSet::new());
        let mut send = |state: &mut State, event, edition| take_in(state, Ok(event), &mut listing, &|_| edition);
        let (a, b) = (("n".to_owned(), "a".to_owned()), ("n".to_owned(), "b".to_owned()));
        send(&mut state, Event::Init, None);
        send(&mut state, Event::InitApply(copy("a")), Some(1));
        send(&mut state, Event::InitApply(copy("b")), Some(1));
        send(&mut state, Event::InitDone, None);
        let first = state.seen[&a].at;
        assert!(state.listed && has(&state, &a, 1) && !has(&state, &a, 2));
        send(&mut state, Event::Init, None);
        send(&mut state, Event::InitApply(copy("a")), Some(1));
        send(&mut state, Event::InitDone, None);
        assert!(!state.seen.contains_key(&b) && state.gone.contains_key(&b));
        assert_eq!(state.seen[&a].at, first);
        send(&mut state, Event::Apply(copy("a")), Some(2));
        assert!(has(&state, &a, 2));
        send(&mut state, Event::Apply(copy("a")), None);
        assert!(state.seen.is_empty());
    }
}
