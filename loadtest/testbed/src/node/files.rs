//! The configuration of the programs of a node, each line that is not plain with its reason.

use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::Context as _;
use serde_json::json;

use crate::directory::Directory;

/// The node's own address. Every cluster has the same ones, since each has a network of its own.
pub(super) const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 2);
/// The addresses of pods.
const PODS: &str = "10.244.0.0/24";
/// The addresses of Services; the API server's own is the first.
pub(super) const SERVICES: &str = "10.0.0.0/24";
/// Where containerd is asked, inside the node.
pub(super) const SOCKET: &str = "/run/containerd/containerd.sock";
/// What a pod's sandbox runs.
pub(super) const PAUSE: &str = "localhost/pause:1";

pub(super) const CONTAINERD: &str = "containerd.toml";
pub(super) const KUBELET: &str = "kubelet.yaml";
pub(super) const KUBELET_KUBECONFIG: &str = "kubelet.kubeconfig";
pub(super) const PROXY: &str = "kube-proxy.yaml";
pub(super) const PROXY_KUBECONFIG: &str = "kube-proxy.kubeconfig";

/// Writes all of them; `bin_dir` has the CNI plugins, `cgroup` is the name of the node's cgroups, `version` that of Kubernetes.
pub(super) fn write(
    directory: &Directory,
    bin_dir: &Path,
    cgroup: &str,
    version: Option<(u32, u32)>,
) -> anyhow::Result<()> {
    directory.write(CONTAINERD, containerd(directory.path(), bin_dir)?)?;
    std::fs::create_dir(directory.path().join("cni")).context("cannot make the directory for CNI")?;
    directory.write("cni/pods.conflist", network().to_string())?;
    directory.write("resolv.conf", "")?;
    // JSON, which is YAML.
    directory.write(KUBELET, kubelet(directory.path(), cgroup).to_string())?;
    directory.write(PROXY, proxy(directory.path(), version).to_string())?;
    Ok(())
}

fn containerd(directory: &Path, bin_dir: &Path) -> anyhow::Result<String> {
    let [directory, bin_dir] =
        [directory, bin_dir].map(|path| path.to_str().filter(|path| !path.contains('\'')).map(str::to_owned));
    let directory = directory.context("the directory has a name that containerd's configuration cannot hold")?;
    let bin_dir = bin_dir.context("the cache has a name that containerd's configuration cannot hold")?;
    Ok(format!(
        "version = 3
root = '{directory}/containerd'
state = '/run/containerd'
imports = []
# Each of these only looks at startup for what is not here.
disabled_plugins = [
  'io.containerd.nri.v1.nri', 'io.containerd.image-verifier.v1.bindir', 'io.containerd.monitor.container.v1.restart',
  'io.containerd.snapshotter.v1.erofs', 'io.containerd.snapshotter.v1.blockfile', 'io.containerd.snapshotter.v1.native',
  'io.containerd.differ.v1.erofs', 'io.containerd.mount-handler.v1.erofs',
]
[grpc]
address = '{SOCKET}'
[plugins.'io.containerd.metadata.v1.bolt']
no_sync = true
[plugins.'io.containerd.internal.v1.opt']
path = '/run/containerd/opt'
[plugins.'io.containerd.cri.v1.images']
snapshotter = 'overlayfs'
[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = '{PAUSE}'
[plugins.'io.containerd.cri.v1.runtime']
# Without it every sandbox fails where the parent may not lower its own score: runc says \"can't get final child's PID\".
restrict_oom_score_adj = true
disable_apparmor = true
disable_hugetlb_controller = true
tolerate_missing_hugetlb_controller = true
netns_mounts_under_state_dir = true
enable_criu = false
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
runtime_type = 'io.containerd.runc.v2'
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
SystemdCgroup = false
[plugins.'io.containerd.cri.v1.runtime'.cni]
bin_dirs = ['{bin_dir}']
conf_dir = '{directory}/cni'
use_internal_loopback = true
"
    ))
}

fn network() -> serde_json::Value {
    json!({
        "cniVersion": "1.0.0",
        "name": "pods",
        "plugins": [{
            "type": "ptp",
            "ipMasq": false,
            "mtu": 1500,
            "ipam": {
                "type": "host-local",
                "dataDir": "/run/cni-addresses",
                "ranges": [[{"subnet": PODS}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        }],
    })
}

fn kubelet(directory: &Path, cgroup: &str) -> serde_json::Value {
    let never = "0%";
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        // It would refuse to run on these hierarchies otherwise.
        "failCgroupV1": false,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{cgroup}"),
        "containerRuntimeEndpoint": format!("unix://{SOCKET}"),
        "address": ADDRESS,
        "readOnlyPort": 0,
        "healthzPort": 0,
        // Nobody reaches it but what runs in these namespaces, which is all one party's.
        "authentication": {"anonymous": {"enabled": true}, "webhook": {"enabled": false}},
        "authorization": {"mode": "AlwaysAllow"},
        "podLogsDir": "/var/log/pods",
        "volumePluginDir": directory.join("volume-plugins"),
        "resolvConf": directory.join("resolv.conf"),
        "clusterDomain": "cluster.local",
        "clusterDNS": ["10.0.0.10"],
        "oomScoreAdj": 0,
        "maxOpenFiles": 20_000,
        // A disk that is nearly full is the host's affair, and no reason to evict a pod under test.
        "evictionHard": {
            "memory.available": never,
            "nodefs.available": never,
            "nodefs.inodesFree": never,
            "imagefs.available": never,
            "imagefs.inodesFree": never,
        },
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "imageMinimumGCAge": "24h",
        "localStorageCapacityIsolation": false,
        "syncFrequency": "10s",
        "nodeStatusUpdateFrequency": "4s",
        "serializeImagePulls": false,
    })
}

fn proxy(directory: &Path, version: Option<(u32, u32)>) -> serde_json::Value {
    // On from 1.31; some later version will no longer know the gate.
    let gates =
        if version.is_some_and(|version| version < (1, 31)) { json!({"NFTablesProxyMode": true}) } else { json!({}) };
    json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "featureGates": gates,
        "hostnameOverride": "node",
        "clientConnection": {"kubeconfig": directory.join(PROXY_KUBECONFIG)},
        "clusterCIDR": PODS,
        "detectLocalMode": "ClusterCIDR",
        "bindAddress": "0.0.0.0",
        "healthzBindAddress": "",
        "metricsBindAddress": "127.0.0.1:10249",
        "oomScoreAdj": 0,
        // It would set limits of the whole machine, which it may not do from in here, and end.
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        "nftables": {"syncPeriod": "30s", "minSyncPeriod": "100ms"},
    })
}
