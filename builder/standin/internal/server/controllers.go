package server

import (
	"context"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	kcmapp "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	kcmoptions "k8s.io/kubernetes/cmd/kube-controller-manager/app/options"

	"edgeimg.local/standin/internal/flagset"
	"edgeimg.local/standin/internal/settings"
)

// unneededControllers serve features that a gateway's cluster does not have:
// cloud load balancers, external storage, certificate requests, autoscaling.
// Names that this version does not know are passed over.
var unneededControllers = []string{
	"bootstrap-signer-controller",
	"certificatesigningrequest-approving-controller",
	"certificatesigningrequest-cleaner-controller",
	"certificatesigningrequest-signing-controller",
	"cloud-node-lifecycle-controller",
	"clusterrole-aggregation-controller",
	"device-taint-eviction-controller",
	"ephemeral-volume-controller",
	"horizontal-pod-autoscaler-controller",
	"kube-apiserver-serving-clustertrustbundle-publisher-controller",
	"legacy-serviceaccount-token-cleaner-controller",
	"node-route-controller",
	"persistentvolume-attach-detach-controller",
	"persistentvolume-expander-controller",
	"podcertificaterequest-cleaner-controller",
	"podgroup-protection-controller",
	"resourceclaim-controller",
	"resourcepoolstatusrequest-controller",
	"selinux-warning-controller",
	"service-lb-controller",
	"storage-version-migrator-controller",
	"storageversion-garbage-collector-controller",
	"token-cleaner-controller",
	"validatingadmissionpolicy-status-controller",
	"volumeattributesclass-protection-controller",
}

func wantedControllers() string {
	wanted := "*"
	for _, name := range unneededControllers {
		if slices.Contains(kcmapp.KnownControllers(), name) {
			wanted += ",-" + name
		}
	}
	return wanted
}

func defaultControllerArgs(s *settings.Settings, p paths) []string {
	return []string{
		"controllers=" + wantedControllers(),
		"allocate-node-cidrs=true",
		"cluster-cidr=" + s.ClusterCIDR,
		"service-cluster-ip-range=" + s.ServiceCIDR,
		"service-account-private-key-file=" + p.serviceKey(),
		"root-ca-file=" + p.cert(caServer),
		"use-service-account-credentials=false",
		"leader-elect=false",
		"secure-port=0",
		"profiling=false",
	}
}

// runControllers runs the controller manager until ctx ends.
func runControllers(ctx context.Context, s *settings.Settings, args []string, client *rest.Config) error {
	options, err := kcmoptions.NewKubeControllerManagerOptions()
	if err != nil {
		return err
	}
	known, off, aliases := kcmapp.KnownControllers(), kcmapp.ControllersDisabledByDefault(), kcmapp.ControllerAliases()
	if err := flagset.Parse(options.Flags(known, off, aliases), append(args, s.ControllerArgs...)); err != nil {
		return fmt.Errorf("kube-controller-manager-arg: %w", err)
	}
	options.Master = client.Host // replaced below, but something must be there
	config, err := options.Config(ctx, known, off, aliases)
	if err != nil {
		return err
	}
	config.Kubeconfig = rest.AddUserAgent(rest.CopyConfig(client), "kube-controller-manager")
	if config.Client, err = kubernetes.NewForConfig(config.Kubeconfig); err != nil {
		return err
	}
	return kcmapp.Run(ctx, config.Complete())
}

// dropManagedFields saves memory: nothing in this process reads them from a
// cache.
func dropManagedFields(object any) (any, error) {
	if accessor, err := meta.Accessor(object); err == nil && accessor.GetManagedFields() != nil {
		accessor.SetManagedFields(nil)
	}
	return object, nil
}
