//! One object that feeds all the namespaces with a label: it follows a change, namespaces that come and go, and goes on when
//! a replica dies in the middle.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use configmapsync_operator::api::clusterconfigmapsync::ClusterConfigMapSync;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::PostParams;
use kube::{Api, ResourceExt as _};

use super::many::{WITHIN, content, edition_of, requests};
use super::stage::{OBJECT, SELECTED, SOURCE_NAMESPACE, Stage};
use crate::copies::{Copies, Place};
use crate::objects;
use crate::screen::{thousands, time};

/// The namespace that gets the label and loses it.
const LATE: &str = "demo-late";
/// A copy stays for 10 s where its namespace is not selected any more.
const GONE_WITHIN: Duration = Duration::from_secs(60);
/// How often a wait looks.
const LOOK: Duration = Duration::from_millis(10);
/// How often the timeline has a line.
const LINE: Duration = Duration::from_secs(1);

/// The object, and what its copies should hold by now.
pub(super) struct One {
    copies: Copies,
    places: Vec<Place>,
    edition: u64,
    version: u64,
}

/// Tells it.
pub(super) async fn happens(stage: &mut Stage) -> anyhow::Result<One> {
    let mut one = One::create(stage).await?;
    one.change(stage).await?;
    one.namespace_comes_and_goes(stage).await?;
    one.replica_dies(stage).await?;
    Ok(one)
}

fn api(stage: &Stage) -> Api<ClusterConfigMapSync> {
    Api::all(stage.client.clone())
}

impl One {
    /// Makes source and object, and waits for the copies.
    async fn create(stage: &Stage) -> anyhow::Result<Self> {
        let (screen, destinations) = (&stage.screen, stage.destinations());
        let count = thousands(destinations.len());
        screen.chapter(&format!("One object for {count} namespaces"));
        let sources = Api::<ConfigMap>::namespaced(stage.client.clone(), SOURCE_NAMESPACE);
        let source = objects::config_map(SOURCE_NAMESPACE, OBJECT, content(1));
        let source = sources.create(&PostParams::default(), &source).await.context("the source cannot be made")?;
        let copies =
            Copies::with_content(stage.client.clone(), &objects::copies_selector(), edition_of(OBJECT)).await?;
        let places = destinations.into_iter().map(|name| (name, OBJECT.to_owned())).collect();
        let mut one = Self { copies, places, edition: 1, version: 0 };
        one.version = version(&source)?;

        let object = objects::cluster_sync(OBJECT, (SOURCE_NAMESPACE, OBJECT), OBJECT, SELECTED);
        screen.say(&format!("This is created, and nothing else; {count} namespaces have the label:"));
        screen.block(&serde_yaml_ng::to_string(&object)?);
        let begun = Instant::now();
        api(stage).create(&PostParams::default(), &object).await.context("the object cannot be made")?;
        let (_, _, last) = one.arrive(stage, begun).await?;
        let told = one.told(stage).await?.duration_since(begun);
        screen.fact(&format!(
            "The last of {count} copies was there after {}, and told of after {}:",
            time(last),
            time(told)
        ));
        stage.show_kubectl(&format!("get clusterconfigmapsync {OBJECT}")).await?;
        Ok(one)
    }

    async fn change(&mut self, stage: &Stage) -> anyhow::Result<()> {
        let screen = &stage.screen;
        let mark = stage.cluster.audit().ok().map(testbed::AuditLog::mark).transpose()?;
        let sent = self.write_next(stage).await?;
        let (first, half, last) = self.arrive(stage, sent).await?;
        let told = self.told(stage).await?.duration_since(sent);
        screen.fact(&format!(
            "A change of the source was in the first copy after {}, in half of them after {}, in the last after {}. The \
             object's status said so {} after the change.",
            time(first),
            time(half),
            time(last),
            time(told)
        ));
        if let (Ok(audit), Some(mark)) = (stage.cluster.audit(), mark) {
            screen.fact(&requests(&audit.since(mark)?));
        }
        Ok(())
    }

    async fn namespace_comes_and_goes(&self, stage: &Stage) -> anyhow::Result<()> {
        let screen = &stage.screen;
        screen.chapter("A namespace gets the label, and loses it");
        let namespaces = Api::<Namespace>::all(stage.client.clone());
        let namespace = stage.namespace(LATE);
        namespaces.create(&PostParams::default(), &namespace).await.context("the namespace cannot be made")?;
        let place = (LATE.to_owned(), OBJECT.to_owned());
        let (label, value) = SELECTED;
        let labelled = format!("label namespace {LATE} {label}={value}");
        stage.show_kubectl(&labelled).await?;
        let sent = Instant::now();
        let seen = until(stage, &labelled, WITHIN, async || Ok(self.copies.seen(&place).map(|seen| seen.at))).await?;
        screen.fact(&match seen.checked_duration_since(sent) {
            Some(after) => format!("Its copy was there {} after kubectl had ended.", time(after)),
            None => "Its copy was there before kubectl had ended.".to_owned(),
        });
        let unlabelled = format!("label namespace {LATE} {label}-");
        stage.show_kubectl(&unlabelled).await?;
        let begun = Instant::now();
        screen.progress("the copy stays for 10 s, in case the label comes back");
        let gone = async || Ok(self.copies.seen(&place).is_none().then(Instant::now));
        let gone = until(stage, &unlabelled, GONE_WITHIN, gone).await?;
        screen.fact(&format!(
            "The copy went {} later: a label that flaps does no harm.",
            time(gone.duration_since(begun))
        ));
        self.told(stage).await?;
        Ok(())
    }

    async fn replica_dies(&mut self, stage: &mut Stage) -> anyhow::Result<()> {
        let victim = stage.crew.victim()?;
        let all = thousands(self.places.len());
        stage.screen.chapter("A replica is killed in the middle of a change");
        let before = stage.crew.shards().await?;
        let held = before.held_by(&victim);
        let former: Vec<String> =
            before.sessions().into_iter().filter(|session| crate::fleet::is_session_of(session, &victim)).collect();
        self.write_next(stage).await?;
        let begun = async || Ok((self.arrived() * 10 >= self.places.len()).then(Instant::now));
        until(stage, "a tenth of the copies", WITHIN, begun).await?;
        stage.crew.kill(&victim).await?;
        let killed = Instant::now();
        stage.screen.say(&format!(
            "The source changes, and {victim}, with {held} shards, gets SIGKILL when {} of {all} copies have the change. The \
             others go on with what is theirs, and after a lease duration ({} s) with the rest:",
            thousands(self.arrived()),
            stage.lease_duration.as_secs()
        ));
        let (mut shown, mut next_line) = (String::new(), killed);
        let within = stage.lease_duration * 3 + WITHIN;
        loop {
            let object = api(stage).get(OBJECT).await?;
            let shards = stage.crew.shards().await?;
            let dead = shards.holders().flatten().filter(|holder| former.iter().any(|name| name == holder)).count();
            let told = objects::told(&object).filter(|told| told.version == self.version);
            let line =
                format!("{:>5} copies, {dead:>2} shards of the dead; {}", thousands(self.arrived()), says(&object));
            let over = dead == 0 && told.is_some_and(|told| told.ready && told.copies == self.all());
            if (over || Instant::now() >= next_line) && line != shown {
                stage.screen.block(&format!("{:>4.1}s {line}", killed.elapsed().as_secs_f64()));
                shown = line;
                next_line = Instant::now() + LINE;
            }
            if over {
                break;
            }
            stage.crew.check()?;
            if killed.elapsed() > within {
                bail!("{} s after the kill the object says: {}", within.as_secs(), says(&object));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let (_, _, last) = self.arrive(stage, killed).await?;
        stage.screen.fact(&format!("The last of {all} copies had the change {} after the kill.", time(last)));
        stage.show_kubectl(&format!("get clusterconfigmapsync {OBJECT}")).await
    }

    /// Deletes the object, and waits until all copies are gone.
    pub(super) async fn goes(&self, stage: &Stage) -> anyhow::Result<()> {
        let begun = Instant::now();
        stage.show_kubectl(&format!("delete clusterconfigmapsync {OBJECT}")).await?;
        let look = |left: usize| {
            stage.screen.progress(&format!("{} copies left", thousands(left)));
            stage.crew.check()
        };
        let gone = self.copies.all_gone(&self.places, WITHIN, look).await?;
        let last = gone.into_iter().max().unwrap_or_else(Instant::now);
        let all = thousands(self.places.len());
        stage.screen.fact(&format!("The last of its {all} copies went {} later.", time(last.duration_since(begun))));
        Ok(())
    }

    /// `1000/1000`.
    fn all(&self) -> String {
        format!("{0}/{0}", self.places.len())
    }

    fn arrived(&self) -> usize {
        self.copies.arrived(self.places.iter().map(|place| (place, self.edition)))
    }

    /// Writes the next edition of the source; returns when it was sent.
    async fn write_next(&mut self, stage: &Stage) -> anyhow::Result<Instant> {
        self.edition += 1;
        let sources = Api::<ConfigMap>::namespaced(stage.client.clone(), SOURCE_NAMESPACE);
        let source = objects::config_map(SOURCE_NAMESPACE, OBJECT, content(self.edition));
        let sent = Instant::now();
        let source = sources.replace(OBJECT, &PostParams::default(), &source).await;
        self.version = version(&source.context("the source cannot be changed")?)?;
        Ok(sent)
    }

    /// Waits until all copies hold the newest edition: how long after `since` the first, half of them, and the last did.
    async fn arrive(&self, stage: &Stage, since: Instant) -> anyhow::Result<(Duration, Duration, Duration)> {
        let wanted: Vec<(Place, u64)> = self.places.iter().map(|place| (place.clone(), self.edition)).collect();
        let look = |arrived| {
            stage.screen.progress(&format!("{} of {} copies", thousands(arrived), thousands(wanted.len())));
            stage.crew.check()
        };
        let seen = self.copies.all_arrived(&wanted, WITHIN, look).await?;
        let mut times: Vec<Duration> = seen.iter().map(|seen| seen.saturating_duration_since(since)).collect();
        times.sort_unstable();
        let [first, half, last] = [0, times.len() / 2, times.len() - 1].map(|at| times[at]);
        Ok((first, half, last))
    }

    /// Waits until the object says that all copies hold the newest version of the source; when that was.
    async fn told(&self, stage: &Stage) -> anyhow::Result<Instant> {
        let all = self.all();
        until(stage, "the status", WITHIN, async || {
            let told = objects::told(&api(stage).get(OBJECT).await?);
            let is = told.is_some_and(|told| told.ready && told.version == self.version && told.copies == all);
            Ok(is.then(Instant::now))
        })
        .await
    }
}

/// What the object's status says, in a few words.
fn says(object: &ClusterConfigMapSync) -> String {
    let status = object.status.clone().unwrap_or_default();
    let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready");
    let reason = ready.map_or("nothing", |ready| ready.reason.as_str());
    format!("{} {reason}", status.copies)
}

fn version(source: &ConfigMap) -> anyhow::Result<u64> {
    let version = source.resource_version().and_then(|version| version.parse().ok());
    version.context("the source came back without a version")
}

/// Waits until something has happened; when it did.
async fn until(
    stage: &Stage,
    what: &str,
    within: Duration,
    happened: impl AsyncFn() -> anyhow::Result<Option<Instant>>,
) -> anyhow::Result<Instant> {
    let begun = Instant::now();
    loop {
        if let Some(at) = happened().await? {
            return Ok(at);
        }
        stage.crew.check()?;
        if begun.elapsed() > within {
            bail!("{what}: nothing came of it within {} s", within.as_secs());
        }
        tokio::time::sleep(LOOK).await;
    }
}
