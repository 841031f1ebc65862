//! The load: sources that change all the time, syncs that come and go, hands in the copies.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use configmapsync_operator::api::clusterconfigmapsync::ClusterConfigMapSync;
use configmapsync_operator::api::configmapsync::ConfigMapSync;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::json;
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::task::JoinHandle;

use super::many::{self, MANY};
use crate::copies::Place;
use crate::{objects, writers};

/// Sources and syncs stand here.
pub const HOME: &str = "chaos";
const OWNER: &str = "configmapsync-chaos";

/// The source of the fan-out.
const WIDE: &str = "wide";
/// How many copies it has.
const COPIES_OF_WIDE: usize = 192;
/// The other sources.
const NARROW: usize = 8;
const COPIES_OF_NARROW: usize = 8;
/// The copies are spread over these.
const NAMESPACES: usize = 8;
/// How many syncs that came and did not go yet there are at most.
const PASSERS_BY: usize = 48;

/// From one change to the next.
const PAUSE: Duration = Duration::from_millis(80);

/// What a source holds in some edition.
pub fn content(source: &str, edition: u64) -> BTreeMap<String, String> {
    let text = format!("{source} in edition {edition}\n").repeat(8);
    [("edition".to_owned(), edition.to_string()), ("text".to_owned(), text)].into()
}

/// The edition of a source that this is the content of.
pub fn edition(source: &str, data: &BTreeMap<String, String>) -> Option<u64> {
    let edition = data.get("edition")?.parse().ok()?;
    (*data == content(source, edition)).then_some(edition)
}

/// The running load. It ends when this is dropped.
pub struct Load {
    changes: Arc<Mutex<Changes>>,
    task: JoinHandle<()>,
}

/// Nothing changes while this is held.
pub struct Still(OwnedMutexGuard<Changes>);

struct Changes {
    client: Client,
    dice: StdRng,
    editions: BTreeMap<String, u64>,
    passers_by: VecDeque<String>,
    passed: usize,
    touched: usize,
    /// How many labels of namespaces were taken off.
    unlabelled: usize,
}

impl Load {
    /// Makes namespaces, sources and syncs, and begins to change them.
    ///
    /// # Errors
    /// When something cannot be made.
    pub async fn start(client: Client, seed: u64) -> anyhow::Result<Self> {
        let namespaces = (0..NAMESPACES).map(namespace).chain([HOME.to_owned()]);
        let namespaces = namespaces.map(|name| objects::namespace(&name, OWNER)).chain(many::namespaces(OWNER));
        let create = |namespace: Namespace| {
            let api = Api::<Namespace>::all(client.clone());
            async move { Ok(api.create(&PostParams::default(), &namespace).await.map(drop)?) }
        };
        writers::each(namespaces, create, |_| {}).await?;
        let sources = (0..NARROW).map(narrow).chain([WIDE, MANY].map(str::to_owned));
        let editions: BTreeMap<String, u64> = sources.map(|name| (name, 1)).collect();
        let create = |name: String| {
            let api = Api::<ConfigMap>::namespaced(client.clone(), HOME);
            let source = objects::config_map(HOME, &name, content(&name, 1));
            async move { Ok(api.create(&PostParams::default(), &source).await.map(drop)?) }
        };
        writers::each(editions.keys().cloned(), create, |_| {}).await?;
        let create = |sync: ConfigMapSync| {
            let api = Api::<ConfigMapSync>::namespaced(client.clone(), HOME);
            async move { Ok(api.create(&PostParams::default(), &sync).await.map(drop)?) }
        };
        writers::each(residents(), create, |_| {}).await?;
        let api = Api::<ClusterConfigMapSync>::all(client.clone());
        api.create(&PostParams::default(), &many::object(HOME)).await?;

        let dice = StdRng::seed_from_u64(seed);
        let changes =
            Changes { client, dice, editions, passers_by: VecDeque::new(), passed: 0, touched: 0, unlabelled: 0 };
        let changes = Arc::new(Mutex::new(changes));
        let task = tokio::spawn({
            let changes = changes.clone();
            async move {
                loop {
                    // The API server may be away; what was refused is not asked for again.
                    let _ = changes.lock().await.one().await;
                    tokio::time::sleep(PAUSE).await;
                }
            }
        });
        Ok(Self { changes, task })
    }

    /// Begins two fan-outs: of many syncs, and of one object.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn fan_out(&self) -> anyhow::Result<()> {
        let mut changes = self.changes.lock().await;
        changes.change(WIDE).await?;
        changes.change(MANY).await
    }

    /// Stops the changes.
    pub async fn stop(&self) -> Still {
        Still(self.changes.clone().lock_owned().await)
    }
}

impl Still {
    /// Changes each source once more.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn change_all(&mut self) -> anyhow::Result<()> {
        let sources: Vec<String> = self.0.editions.keys().cloned().collect();
        for source in sources {
            self.0.change(&source).await?;
        }
        Ok(())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Changes {
    async fn one(&mut self) -> anyhow::Result<()> {
        match self.dice.random_range(0..100) {
            0..58 => {
                let source = narrow(self.dice.random_range(0..NARROW));
                self.change(&source).await
            }
            58..60 => self.change(WIDE).await,
            60..62 => self.change(MANY).await,
            62 => self.unlabel().await,
            63..68 => self.edit_copy().await,
            68..72 => self.delete_copy().await,
            72..86 if self.passers_by.len() < PASSERS_BY => self.come().await,
            _ => self.go().await,
        }
    }

    async fn change(&mut self, source: &str) -> anyhow::Result<()> {
        let edition = self.editions.entry(source.to_owned()).or_insert(0);
        // Whether or not it arrives: an edition is written once.
        *edition += 1;
        let patch = Patch::Merge(json!({ "data": content(source, *edition) }));
        self.maps(HOME).patch(source, &PatchParams::default(), &patch).await?;
        Ok(())
    }

    async fn edit_copy(&mut self) -> anyhow::Result<()> {
        let (namespace, name) = self.next_copy();
        let patch = Patch::Merge(json!({ "data": { "text": "by hand" } }));
        self.maps(&namespace).patch(&name, &PatchParams::default(), &patch).await?;
        Ok(())
    }

    async fn delete_copy(&mut self) -> anyhow::Result<()> {
        let (namespace, name) = self.next_copy();
        self.maps(&namespace).delete(&name, &DeleteParams::default()).await?;
        Ok(())
    }

    async fn come(&mut self) -> anyhow::Result<()> {
        let name = format!("passer-by-{}", self.passed);
        let sync = sync(&name, &narrow(self.passed % NARROW), self.passed);
        self.passed += 1;
        self.passers_by.push_back(name);
        self.syncs().create(&PostParams::default(), &sync).await?;
        Ok(())
    }

    async fn go(&mut self) -> anyhow::Result<()> {
        // The newest now and then: its copy may just be on the way.
        let name = if self.dice.random() { self.passers_by.pop_back() } else { self.passers_by.pop_front() };
        let Some(name) = name else { return Ok(()) };
        self.syncs().delete(&name, &DeleteParams::default()).await?;
        Ok(())
    }

    /// A label that is gone for a moment takes no copy along. Now and then it stays away until the next one goes, so that the
    /// copy goes too.
    async fn unlabel(&mut self) -> anyhow::Result<()> {
        let number = self.unlabelled;
        self.unlabelled += 1;
        many::label(&self.client, number, false).await?;
        if self.dice.random_ratio(7, 8) {
            many::label(&self.client, number, true).await?;
        }
        if let Some(before) = number.checked_sub(1) {
            many::label(&self.client, before, true).await?;
        }
        Ok(())
    }

    /// Each in its turn: a copy that is changed by others again and again is left alone for a while.
    fn next_copy(&mut self) -> Place {
        let residents = COPIES_OF_WIDE + NARROW * COPIES_OF_NARROW;
        let number = (self.touched * 37) % (residents + many::NAMESPACES);
        self.touched += 1;
        match number.checked_sub(residents) {
            Some(number) => many::place(number),
            None => (namespace(number), resident(number)),
        }
    }

    fn maps(&self, namespace: &str) -> Api<ConfigMap> {
        Api::namespaced(self.client.clone(), namespace)
    }

    fn syncs(&self) -> Api<ConfigMapSync> {
        Api::namespaced(self.client.clone(), HOME)
    }
}

/// The syncs that stay.
fn residents() -> impl Iterator<Item = ConfigMapSync> {
    let wide = (0..COPIES_OF_WIDE).map(|number| sync(&resident(number), WIDE, number));
    let narrow = (0..NARROW * COPIES_OF_NARROW).map(|number| {
        let place = COPIES_OF_WIDE + number;
        sync(&resident(place), &narrow(number % NARROW), place)
    });
    wide.chain(narrow)
}

fn sync(name: &str, source: &str, place: usize) -> ConfigMapSync {
    objects::sync(name, (HOME, source), (&namespace(place), name))
}

fn resident(number: usize) -> String {
    format!("resident-{number}")
}

fn narrow(number: usize) -> String {
    format!("narrow-{number}")
}

fn namespace(number: usize) -> String {
    format!("chaos-{}", number % NAMESPACES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_tells_its_edition_and_nothing_else_does() {
        assert_eq!(edition("wide", &content("wide", 7)), Some(7));
        assert_eq!(edition("narrow-0", &content("wide", 7)), None);
        let mut touched = content("wide", 7);
        touched.insert("text".to_owned(), "by hand".to_owned());
        assert_eq!(edition("wide", &touched), None);
    }
}
