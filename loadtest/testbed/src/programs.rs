//! The programs of a control plane and the flags they run with.

use std::net::Ipv4Addr;
use std::path::Path;

use crate::directory::Directory;
use crate::process::Command;

/// A program of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Component {
    /// The store.
    Etcd,
    /// The API.
    ApiServer,
    /// The controllers that a Deployment, a namespace and a ServiceAccount need.
    ControllerManager,
    /// Gives pods to nodes; without a node only where asked for.
    Scheduler,
    /// Runs containers; only on a node.
    Containerd,
    /// Runs pods; only on a node.
    Kubelet,
    /// Makes Services reachable; only on a node.
    KubeProxy,
}

impl Component {
    /// The program's name, which is also that of its log.
    pub fn program(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::ApiServer => "kube-apiserver",
            Self::ControllerManager => "kube-controller-manager",
            Self::Scheduler => "kube-scheduler",
            Self::Containerd => "containerd",
            Self::Kubelet => "kubelet",
            Self::KubeProxy => "kube-proxy",
        }
    }
}

/// What makes one control plane different from another.
pub(crate) struct Layout<'a> {
    pub(crate) bin_dir: &'a Path,
    pub(crate) directory: &'a Directory,
    pub(crate) etcd_client_port: u16,
    pub(crate) etcd_peer_port: u16,
    pub(crate) api_server_port: u16,
    /// The address of the node that stands beside it, if there is one.
    pub(crate) node: Option<Ipv4Addr>,
}

/// Everything that a test may rely on being reconciled; the node controllers are off, as there are no nodes.
const CONTROLLERS: &str = "namespace-controller,garbage-collector-controller,deployment-controller,replicaset-controller,\
    disruption-controller,endpointslice-controller,serviceaccount-controller,serviceaccount-token-controller,\
    root-ca-certificate-publisher-controller,clusterrole-aggregation-controller";

/// What pods need beside those.
const POD_CONTROLLERS: &str = ",pod-garbage-collector-controller,job-controller,statefulset-controller,daemonset-controller,resourcequota-controller";

impl Layout<'_> {
    pub(crate) fn etcd(&self) -> Command {
        let client = format!("http://127.0.0.1:{}", self.etcd_client_port);
        let peer = format!("http://127.0.0.1:{}", self.etcd_peer_port);
        self.command(Component::Etcd)
            .args(["--name", "testbed", "--initial-cluster", &format!("testbed={peer}")])
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .arg("--data-dir")
            .arg(self.directory.path().join("etcd"))
            // What is written survives a kill of etcd all the same: only a crash of the machine would lose it.
            .arg("--unsafe-no-fsync")
            // The default of 2 GiB is reached in a load test before the API server's compaction comes round.
            .args(["--quota-backend-bytes", "6442450944", "--log-level", "warn"])
    }

    /// `audit` adds the log; `sharded_watch` the feature gate, which servers before 1.36 refuse to start with.
    pub(crate) fn api_server(&self, audit: bool, sharded_watch: bool, extra_flags: &[String]) -> Command {
        let file = |name: &str| self.directory.path().join(name);
        let mut command = self
            .command(Component::ApiServer)
            .args(["--etcd-servers", &format!("http://127.0.0.1:{}", self.etcd_client_port)])
            .args(["--secure-port", &self.api_server_port.to_string()])
            .args(["--service-cluster-ip-range", "10.0.0.0/24"])
            .arg("--cert-dir")
            .arg(file("certs"))
            .arg("--service-account-key-file")
            .arg(file(SIGNING_PUBLIC))
            .arg("--service-account-signing-key-file")
            .arg(file(SIGNING_PRIVATE))
            .args(["--service-account-issuer", "https://kubernetes.default.svc"])
            .arg("--token-auth-file")
            .arg(file(TOKENS));
        command = match self.node {
            None => command
                .args([
                    "--bind-address",
                    "127.0.0.1",
                    "--advertise-address",
                    "127.0.0.1",
                    "--authorization-mode",
                    "RBAC",
                ])
                // A loopback address is no valid endpoint: without this the API server tries, fails and logs for ever.
                .args(["--endpoint-reconciler-type", "none"]),
            Some(address) => command
                .args(["--bind-address", "0.0.0.0", "--advertise-address", &address.to_string()])
                .arg("--allow-privileged=true")
                .args(["--authorization-mode", "Node,RBAC", "--kubelet-preferred-address-types", "InternalIP"])
                // It taints every new node until the node-lifecycle controller, which does not run here, takes that back.
                .args(["--disable-admission-plugins", "TaintNodesByCondition"]),
        };
        if sharded_watch {
            command = command.args(["--feature-gates", "ShardedListAndWatch=true"]);
        }
        if audit {
            command = command
                .arg("--audit-policy-file")
                .arg(file(AUDIT_POLICY))
                .arg("--audit-log-path")
                .arg(file(AUDIT_LOG))
                // A request that has been answered is in the file; and the file is never rotated away under its reader.
                .args(["--audit-log-mode", "blocking", "--audit-log-maxsize", "1000000"]);
        }
        command.args(extra_flags)
    }

    pub(crate) fn controller_manager(&self) -> Command {
        let file = |name: &str| self.directory.path().join(name);
        let controllers = format!("{CONTROLLERS}{}", if self.node.is_some() { POD_CONTROLLERS } else { "" });
        self.command(Component::ControllerManager)
            .arg("--kubeconfig")
            .arg(file(CONTROLLERS_KUBECONFIG))
            .arg("--service-account-private-key-file")
            .arg(file(SIGNING_PRIVATE))
            .arg("--root-ca-file")
            .arg(file(CERTIFICATE))
            .args(["--controllers", &controllers, "--leader-elect=false", "--use-service-account-credentials=false"])
            // With the default of 20 requests a second tests that delete namespaces would wait for it.
            .args(["--secure-port", "0", "--kube-api-qps", "300", "--kube-api-burst", "600"])
    }

    pub(crate) fn scheduler(&self) -> Command {
        self.command(Component::Scheduler)
            .arg("--kubeconfig")
            .arg(self.directory.path().join(CONTROLLERS_KUBECONFIG))
            .args(["--leader-elect=false", "--secure-port", "0"])
    }

    fn command(&self, component: Component) -> Command {
        let log = self.directory.path().join(format!("{}.log", component.program()));
        // Someone's KUBECONFIG is none of the control plane's business.
        Command::new(self.bin_dir.join(component.program())).log(log).env_remove("KUBECONFIG")
    }
}

pub(crate) const SIGNING_PRIVATE: &str = "service-accounts.key";
pub(crate) const SIGNING_PUBLIC: &str = "service-accounts.pub";
pub(crate) const TOKENS: &str = "tokens.csv";
pub(crate) const AUDIT_POLICY: &str = "audit-policy.yaml";
pub(crate) const AUDIT_LOG: &str = "audit.log";
pub(crate) const CONTROLLERS_KUBECONFIG: &str = "controllers.kubeconfig";
/// Written by the API server itself, with the authority that signed it behind it.
pub(crate) const CERTIFICATE: &str = "certs/apiserver.crt";
/// Written after the certificate.
pub(crate) const CERTIFICATE_KEY: &str = "certs/apiserver.key";
