//! What a request is about, by its address.

use http::Uri;

/// The kinds that are served.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum Resource {
    /// ConfigMaps.
    ConfigMaps,
    /// ConfigMapSyncs.
    Syncs,
    /// ClusterConfigMapSyncs.
    ClusterSyncs,
    /// Leases.
    Leases,
    /// Namespaces.
    Namespaces,
    /// Events of `events.k8s.io`.
    Events,
    /// CustomResourceDefinitions.
    Crds,
}

impl Resource {
    /// apiVersion and kind.
    pub fn kind(self) -> (&'static str, &'static str) {
        match self {
            Self::ConfigMaps => ("v1", "ConfigMap"),
            Self::Syncs => ("apps.kapendra.com/v1", "ConfigMapSync"),
            Self::ClusterSyncs => ("apps.kapendra.com/v1alpha1", "ClusterConfigMapSync"),
            Self::Leases => ("coordination.k8s.io/v1", "Lease"),
            Self::Namespaces => ("v1", "Namespace"),
            Self::Events => ("events.k8s.io/v1", "Event"),
            Self::Crds => ("apiextensions.k8s.io/v1", "CustomResourceDefinition"),
        }
    }

    /// Its group, empty for the core, and its name in addresses.
    pub fn group(self) -> (&'static str, &'static str) {
        match self {
            Self::ConfigMaps => ("", "configmaps"),
            Self::Syncs => ("apps.kapendra.com", "configmapsyncs"),
            Self::ClusterSyncs => ("apps.kapendra.com", "clusterconfigmapsyncs"),
            Self::Leases => ("coordination.k8s.io", "leases"),
            Self::Namespaces => ("", "namespaces"),
            Self::Events => ("events.k8s.io", "events"),
            Self::Crds => ("apiextensions.k8s.io", "customresourcedefinitions"),
        }
    }

    /// Whether a change of its spec moves `metadata.generation`.
    pub fn has_generation(self) -> bool {
        self.is_ours()
    }

    /// Whether it is a kind of the operator's own.
    pub fn is_ours(self) -> bool {
        matches!(self, Self::Syncs | Self::ClusterSyncs)
    }

    fn of(group: &str, plural: &str) -> Option<Self> {
        [Self::ConfigMaps, Self::Syncs, Self::ClusterSyncs, Self::Leases, Self::Namespaces, Self::Events, Self::Crds]
            .into_iter()
            .find(|resource| resource.group() == (group, plural))
    }
}

/// What an object is stored under.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct Key {
    /// Its kind.
    pub resource: Resource,
    /// Its namespace; empty where there is none.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl Key {
    /// A key.
    pub fn new(resource: Resource, namespace: &str, name: &str) -> Self {
        Self { resource, namespace: namespace.to_owned(), name: name.to_owned() }
    }

    /// A ConfigMap's.
    pub fn map(namespace: &str, name: &str) -> Self {
        Self::new(Resource::ConfigMaps, namespace, name)
    }

    /// A sync's.
    pub fn sync(namespace: &str, name: &str) -> Self {
        Self::new(Resource::Syncs, namespace, name)
    }

    /// Its address.
    pub fn path(&self) -> String {
        format!("{}/{}", self.collection(), self.name)
    }

    /// The address that it is created at.
    pub fn collection(&self) -> String {
        let (group, plural) = self.resource.group();
        let version = self.resource.kind().0.rsplit('/').next().unwrap_or_default();
        let root = if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") };
        match self.namespace.as_str() {
            "" => format!("{root}/{plural}"),
            namespace => format!("{root}/namespaces/{namespace}/{plural}"),
        }
    }
}

/// What a request is about.
#[derive(Clone, Debug)]
pub struct Target {
    /// The kind.
    pub resource: Resource,
    /// The namespace; empty for all, or where there is none.
    pub namespace: String,
    /// One object's name; `None` for the collection.
    pub name: Option<String>,
    /// Whether it is about the status alone.
    pub status: bool,
    query: Vec<(String, String)>,
}

impl Target {
    /// Reads an address; `None` when nothing is served there.
    pub fn parse(uri: &Uri) -> Option<Self> {
        let parts: Vec<&str> = uri.path().split('/').filter(|part| !part.is_empty()).collect();
        let (group, rest) = match parts.as_slice() {
            ["api", "v1", rest @ ..] => ("", rest),
            ["apis", group, _, rest @ ..] => (*group, rest),
            _ => return None,
        };
        let (namespace, rest) = match rest {
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (*namespace, rest),
            rest => ("", rest),
        };
        let (plural, name, status) = match rest {
            [plural] => (*plural, None, false),
            [plural, name] => (*plural, Some((*name).to_owned()), false),
            [plural, name, "status"] => (*plural, Some((*name).to_owned()), true),
            _ => return None,
        };
        let query = uri.query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
        let query = query.map(|(name, value)| (name.to_owned(), unescaped(value))).collect();
        let resource = Resource::of(group, plural)?;
        Some(Self { resource, namespace: namespace.to_owned(), name, status, query })
    }

    /// The object's key; of a collection, one without a name.
    pub fn key(&self) -> Key {
        Key::new(self.resource, &self.namespace, self.name.as_deref().unwrap_or_default())
    }

    /// A parameter.
    pub fn query(&self, name: &str) -> Option<String> {
        self.query.iter().find(|(other, _)| other == name).map(|(_, value)| value.clone())
    }

    /// Whether it asks for a watch.
    pub fn is_watch(&self) -> bool {
        self.query("watch").is_some_and(|watch| watch == "true" || watch == "1")
    }

    /// Whether an object is among those that a list or watch asks for. Of field selectors those of names are known.
    pub fn selects(&self, key: &Key) -> bool {
        let fields = self.query("fieldSelector").unwrap_or_default();
        let named = |field: &str| match (field.strip_prefix("metadata.name!="), field.strip_prefix("metadata.name=")) {
            (Some(other), _) => key.name != other,
            (None, Some(name)) => key.name == name,
            (None, None) => field.is_empty(),
        };
        key.resource == self.resource
            && (self.namespace.is_empty() || key.namespace == self.namespace)
            && fields.split(',').all(named)
    }
}

fn unescaped(value: &str) -> String {
    let mut text = String::new();
    let mut rest = value;
    while let Some(at) = rest.find('%') {
        text.push_str(&rest[..at]);
        let code = rest.get(at + 1..at + 3).and_then(|hex| u8::from_str_radix(hex, 16).ok()).unwrap_or(b'?');
        text.push(char::from(code));
        rest = rest.get(at + 3..).unwrap_or_default();
    }
    text + rest
}
