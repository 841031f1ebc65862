package main

import (
	"k8s.io/component-base/cli"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

// Unlike in the newest version, the kubelet's command takes no context.
func init() {
	nodePrograms["kubelet"] = func() int { return cli.Run(kubelet.NewKubeletCommand()) }
	nodePrograms["kube-proxy"] = func() int { return cli.Run(proxy.NewProxyCommand()) }
}
