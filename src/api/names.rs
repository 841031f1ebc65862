//! Names of finalizer, labels and annotations. Those of the seed's operator are kept, so that its copies are known.

/// The field manager of everything that this operator writes.
pub const FIELD_MANAGER: &str = "configmapsync-controller";

/// Holds a ConfigMapSync until its copy is gone.
pub const FINALIZER: &str = "configmapsync.apps.kapendra.com/finalizer";

/// What all our labels and annotations begin with.
pub const PREFIX: &str = "configmapsync.apps.kapendra.com/";

/// Label of a copy: the name of its sync, cut to what a label value may hold (the truth is in [`ANNOTATION_SYNC`]).
pub const LABEL_SYNC_NAME: &str = "configmapsync.apps.kapendra.com/sync-name";
/// Label of a copy: the namespace of its sync.
pub const LABEL_SYNC_NAMESPACE: &str = "configmapsync.apps.kapendra.com/sync-namespace";
/// Label of a copy: the name of its ClusterConfigMapSync, cut likewise.
pub const LABEL_CLUSTER_SYNC_NAME: &str = "configmapsync.apps.kapendra.com/cluster-sync-name";
/// Label of a copy, always [`MANAGED_BY`].
pub const LABEL_MANAGED_BY: &str = "configmapsync.apps.kapendra.com/managed-by";
/// The value of [`LABEL_MANAGED_BY`].
pub const MANAGED_BY: &str = "configmapsync-controller";

/// Annotation of a copy: SHA-256 of what we wrote, in hexadecimal: of its content, and where the spec says something of keys or
/// metadata, of the labels and annotations too. To know a copy again that came back from a backup; for one of many copies, to know
/// what it was written with.
pub const ANNOTATION_HASH: &str = "configmapsync.apps.kapendra.com/source-hash";
/// Annotation of a copy: when it was written, RFC 3339.
pub const ANNOTATION_LAST_SYNC: &str = "configmapsync.apps.kapendra.com/last-sync";
/// Annotation of a copy: `namespace/name/uid` of its sync.
pub const ANNOTATION_SYNC: &str = "configmapsync.apps.kapendra.com/sync";
/// Annotation of a copy: `namespace/name/uid/resourceVersion` of the source that it was written from.
pub const ANNOTATION_SOURCE: &str = "configmapsync.apps.kapendra.com/source";
/// Annotation of a copy: `uid/name` of the place it was written to: the UID of the namespace and the copy's name.
/// A copy of a copy, or one restored from a backup into another namespace, does not stand where this says.
pub const ANNOTATION_AT: &str = "configmapsync.apps.kapendra.com/at";
/// Annotation of a copy: the name of the namespace that it was written to. With [`ANNOTATION_AT`] it tells a copy that came
/// back with its namespace out of a backup from one that was carried elsewhere.
pub const ANNOTATION_AT_NAMESPACE: &str = "configmapsync.apps.kapendra.com/at-namespace";
/// Annotation of a ConfigMap that stood at the destination before us: its removal is never ours to do.
pub const ANNOTATION_ADOPTED: &str = "configmapsync.apps.kapendra.com/adopted";

/// Annotation of a copy whose spec says something of keys or metadata: the names of the labels and annotations that we wrote for
/// it, as `label:team,annotation:owner`. These may go again; what others put on the copy stays.
pub const ANNOTATION_SHAPED: &str = "configmapsync.apps.kapendra.com/shaped";

/// Annotation of a source, or of its Namespace, by its owner: with whom it is shared: `all`, `none`, or a list of namespaces and globs.
pub const ANNOTATION_SHARE: &str = "configmapsync.apps.kapendra.com/share";
/// Annotation of a source, or of its Namespace, by its owner: a label selector of namespaces with which it is shared too.
pub const ANNOTATION_SHARE_WITH: &str = "configmapsync.apps.kapendra.com/share-with";
/// The annotations with our prefix that people put on ConfigMaps. They are theirs, on a copy too.
pub const WRITTEN_BY_PEOPLE: [&str; 3] = [ANNOTATION_SHARE, ANNOTATION_SHARE_WITH, ANNOTATION_PROTECT];

/// Annotation of a ConfigMapSync: a new value ends every wait, and is answered in `status.lastHandledRequest`.
pub const ANNOTATION_REQUESTED_AT: &str = "configmapsync.apps.kapendra.com/requested-at";

/// Annotation of any ConfigMap, by whoever owns it: `"true"`: the operator neither writes nor removes it.
pub const ANNOTATION_PROTECT: &str = "configmapsync.apps.kapendra.com/protect";
/// Label of a namespace, by whoever owns it: `"false"`: the operator writes nothing there.
pub const LABEL_ACCEPT: &str = "configmapsync.apps.kapendra.com/accept";

/// The ConfigMap that Kubernetes keeps in every namespace; never a destination, and left out of the stream.
pub const KUBE_ROOT_CA: &str = "kube-root-ca.crt";
