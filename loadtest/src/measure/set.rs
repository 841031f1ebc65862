//! Copies that are asked for together, and what their sources hold.

use std::collections::BTreeMap;

use configmapsync_operator::api::clusterconfigmapsync::ClusterConfigMapSync;
use configmapsync_operator::api::configmapsync::ConfigMapSync;
use k8s_openapi::api::core::v1::ConfigMap;

use crate::copies::Place;
use crate::objects;

/// Sources and syncs stand here.
pub const HOME: &str = "loadtest";

/// One copy, and what asks for it.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The name of the sync or of the object; also that of the copy.
    pub name: String,
    /// Which of the sources.
    pub source: usize,
    /// Where the copy is to stand.
    pub place: Place,
}

/// A set.
#[derive(Clone, Debug)]
pub struct Set {
    /// What it is called in the report.
    pub title: String,
    /// The names of its objects begin so.
    prefix: String,
    size: usize,
    pub sources: usize,
    pub copies: Vec<Wanted>,
    /// Whether one ClusterConfigMapSync asks for all copies, and not a ConfigMapSync for each.
    pub one_object: bool,
}

impl Set {
    /// `count` syncs, spread evenly over sources and namespaces.
    pub fn new(prefix: &str, count: usize, sources: usize, namespaces: usize, size: usize) -> Self {
        let copies = (0..count).map(|number| {
            let name = format!("{prefix}-{number:06}");
            let place = (namespace(number % namespaces), name.clone());
            // By blocks, not by turns: else all copies of a source would stand in the same few namespaces.
            Wanted { name, source: number * sources / count.max(1), place }
        });
        let title = crate::screen::thousands(count);
        Self { title, prefix: prefix.to_owned(), size, sources, copies: copies.collect(), one_object: false }
    }

    /// A copy in each of so many namespaces, asked for by one object.
    pub fn of_one_object(prefix: &str, namespaces: usize, size: usize) -> Self {
        let mut set = Self::new(prefix, namespaces, 1, namespaces, size);
        for wanted in &mut set.copies {
            prefix.clone_into(&mut wanted.name);
            prefix.clone_into(&mut wanted.place.1);
        }
        set.one_object = true;
        set
    }

    /// The same under other names, for the bare writers.
    pub fn bare(&self) -> Self {
        let prefix = format!("bare-{}", self.prefix);
        let mut set = self.clone();
        for wanted in &mut set.copies {
            wanted.name = format!("{prefix}{}", &wanted.name[self.prefix.len()..]);
            wanted.place.1.clone_from(&wanted.name);
        }
        set.prefix = prefix;
        set
    }

    /// The name of a source.
    pub fn source_name(&self, source: usize) -> String {
        format!("{}-source-{source}", self.prefix)
    }

    /// A source, in some edition.
    pub fn source(&self, source: usize, edition: u64) -> ConfigMap {
        objects::config_map(HOME, &self.source_name(source), self.content(source, edition))
    }

    /// What a source holds in some edition.
    pub fn content(&self, source: usize, edition: u64) -> BTreeMap<String, String> {
        let line = format!("source {source} of {} in edition {edition}\n", self.prefix);
        let text: String = line.chars().cycle().take(self.size).collect();
        [("content".to_owned(), text)].into()
    }

    /// The sync for a copy.
    pub fn sync(&self, wanted: &Wanted) -> ConfigMapSync {
        let source = self.source_name(wanted.source);
        objects::sync(&wanted.name, (HOME, &source), (&wanted.place.0, &wanted.place.1))
    }

    /// The object that asks for all copies.
    pub fn object(&self) -> ClusterConfigMapSync {
        let label = selected(&self.prefix);
        objects::cluster_sync(&self.prefix, (HOME, &self.source_name(0)), &self.prefix, (&label.0, &label.1))
    }

    /// The label of the namespaces that the object means.
    pub fn label(&self) -> (String, String) {
        selected(&self.prefix)
    }

    /// The copies of these sources, with their numbers.
    pub fn of_sources<'a>(&'a self, sources: &'a [usize]) -> impl Iterator<Item = (usize, &'a Wanted)> {
        self.copies.iter().enumerate().filter(|(_, wanted)| sources.contains(&wanted.source))
    }
}

/// The label of the namespaces that the one object of a set means.
pub fn selected(set: &str) -> (String, String) {
    (format!("loadtest.kapendra.com/{set}"), "yes".to_owned())
}

/// The name of a namespace that copies stand in.
pub fn namespace(number: usize) -> String {
    format!("load-{number:05}")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn syncs_are_spread_evenly() {
        let set = Set::new("load", 5000, 5, 500, 1024);
        let places: HashSet<&Place> = set.copies.iter().map(|wanted| &wanted.place).collect();
        let namespaces: HashSet<&str> = places.iter().map(|place| place.0.as_str()).collect();
        assert_eq!((places.len(), namespaces.len()), (5000, 500));
        for source in 0..5 {
            assert_eq!(set.of_sources(&[source]).count(), 1000);
        }
        assert_eq!(set.content(1, 2)["content"].len(), 1024);
        let bare = set.bare();
        assert_eq!(
            (bare.copies[7].name.as_str(), bare.source_name(1).as_str()),
            ("bare-load-000007", "bare-load-source-1")
        );
        assert_eq!(bare.copies[7].place, ("load-00007".to_owned(), "bare-load-000007".to_owned()));
    }

    #[test]
    fn one_object_asks_for_a_copy_in_each_namespace() {
        let set = Set::of_one_object("many", 30, 1024);
        let places: HashSet<&Place> = set.copies.iter().map(|wanted| &wanted.place).collect();
        assert_eq!((places.len(), set.of_sources(&[0]).count()), (30, 30));
        assert_eq!(set.bare().copies[7].place, ("load-00007".to_owned(), "bare-many".to_owned()));
        let spec = serde_json::to_value(set.object().spec).unwrap();
        assert_eq!(spec["namespaceSelector"]["matchLabels"]["loadtest.kapendra.com/many"], "yes");
        assert_eq!((&spec["configMapName"], &spec["destinationName"]), (&"many-source-0".into(), &"many".into()));
    }
}
