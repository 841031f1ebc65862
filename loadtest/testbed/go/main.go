// Command testbed is a whole Kubernetes in one binary, control plane and what runs on a node (see node_linux.go): the name it
// is called by says which program it is. One binary, because the programs share nearly all of their code, and linking it once
// is what takes the time.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	kubectl "k8s.io/kubectl/pkg/cmd"
	kubectlutil "k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
)

// What there is only where there can be a node.
var nodePrograms = map[string]func() int{}

func main() {
	switch name := filepath.Base(os.Args[0]); name {
	case "etcd":
		etcdmain.Main(os.Args)
	case "kube-apiserver":
		os.Exit(cli.Run(apiserver.NewAPIServerCommand()))
	case "kube-controller-manager":
		os.Exit(cli.Run(controllers.NewControllerManagerCommand()))
	case "kube-scheduler":
		os.Exit(cli.Run(scheduler.NewSchedulerCommand()))
	case "kubectl":
		// kubectl words its own errors and picks its own exit codes (`kubectl diff` answers by them).
		if err := cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand()); err != nil {
			kubectlutil.CheckErr(err)
		}
	default:
		if run, ok := nodePrograms[name]; ok {
			os.Exit(run())
		}
		fmt.Fprintf(os.Stderr, "%s: call this program by a link named etcd, kube-apiserver, kube-controller-manager, kube-scheduler, kubectl, kubelet or kube-proxy\n", name)
		os.Exit(2)
	}
}
