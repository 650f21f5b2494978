// Package kubectl is Kubernetes' command line client.
package kubectl

import (
	"os"

	"k8s.io/component-base/cli"
	"k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubectl/pkg/cmd/util"
)

const kubeconfig = "/etc/rancher/k3s/k3s.yaml"

// Run runs kubectl with a command line. Like K3s's, it uses this machine's
// cluster unless KUBECONFIG says otherwise.
func Run(args []string) int {
	os.Args = args
	if os.Getenv("KUBECONFIG") == "" {
		if _, err := os.Stat(kubeconfig); err == nil {
			os.Setenv("KUBECONFIG", kubeconfig)
		}
	}
	if err := cli.RunNoErrOutput(cmd.NewDefaultKubectlCommand()); err != nil {
		util.CheckErr(err)
		return 1
	}
	return 0
}
