//! A real Kubernetes control plane without containers, for tests, the demo and the load test; and, where root may make
//! namespaces, a whole cluster with a node that runs containers: [`NodeCluster`].
//!
//! ```no_run
//! # async fn f() -> anyhow::Result<()> {
//! let cluster = testbed::ControlPlane::start(testbed::Options::default()).await?;
//! let version = cluster.client()?.apiserver_version().await?;
//! # Ok(()) }
//! ```
//!
//! The first start on a machine builds Kubernetes from source (`build.sh`, minutes); every later one takes seconds.
//! However the process that started a control plane ends, also by SIGKILL, nothing of it is left: see [`process`].
//! Linux only, since that rests on `prctl` and `/proc`.

mod access;
pub mod audit;
mod build;
pub mod cgroups;
mod cluster;
mod control_plane;
mod directory;
pub mod image;
mod keys;
pub mod kubeconfig;
mod node;
mod patience;
mod ports;
pub mod process;
mod programs;
mod running;
mod startup;

pub use access::Access;
pub use audit::{AuditEvent, AuditLog};
pub use build::bin_dir;
pub use cluster::Cluster;
pub use control_plane::{ControlPlane, Options};
pub use node::{NodeCluster, NodeOptions};
pub use patience::Patience;
pub use programs::Component;
