// Controlplane is a whole Kubernetes control plane in one binary, for tests: etcd, kube-apiserver,
// kube-controller-manager, and a loop in place of kubelets that says of each pod what its image's tag says.
//
// "controlplane run --dir DIR" starts itself once for each component, since their flags, feature gates and
// logs are global to a process, and supervises them (see supervisor.go).
package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"k8s.io/component-base/cli"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
)

func main() {
	if len(os.Args) < 2 {
		fail(fmt.Errorf("usage: controlplane run --dir DIR"))
	}
	name, arguments := os.Args[1], os.Args[2:]
	switch name {
	case "run":
		if len(arguments) != 2 || arguments[0] != "--dir" {
			fail(fmt.Errorf("usage: controlplane run --dir DIR"))
		}
		fail(supervise(arguments[1]))
	case etcdName:
		fail(runEtcd(arguments))
	case apiserverName:
		runCommand(apiserver.NewAPIServerCommand(), arguments)
	case managerName:
		runCommand(controllermanager.NewControllerManagerCommand(), arguments)
	case kubeletName:
		fail(runKubelet(arguments))
	default:
		fail(fmt.Errorf("no component %q", name))
	}
}

func runCommand(command *cobra.Command, arguments []string) {
	command.SetArgs(arguments)
	os.Exit(cli.Run(command))
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
