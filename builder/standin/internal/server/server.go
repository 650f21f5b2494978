// Package server runs the control plane and, unless told not to, a node, in
// one process.
package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"

	"edgeimg.local/standin/internal/agent"
	"edgeimg.local/standin/internal/datastore"
	"edgeimg.local/standin/internal/packaged"
	"edgeimg.local/standin/internal/settings"
	"edgeimg.local/standin/internal/token"
)

// How long the API server may take to end its requests when it is stopped.
// kube-proxy's watches never end by themselves, so it always takes this long.
const stopTimeout = 3 * time.Second

// Run runs the server until ctx ends or a part of it fails. Ready is called
// once the API is served and the node, if there is one, is registered.
func Run(ctx context.Context, s *settings.Settings, ready func()) error {
	p := pathsOf(s)
	address, err := agent.Address(ctx, s)
	if err != nil {
		return err
	}
	id, err := loadIdentity(s, p, address)
	if err != nil {
		return err
	}
	if err := writeKubeconfig(s, p); err != nil {
		return err
	}
	cluster, err := clusterOf(s)
	if err != nil {
		return err
	}
	return withDatastore(ctx, p, func(ctx context.Context) error {
		api, err := newAPIServer(ctx, s, defaultAPIServerArgs(s, p, address), token.NewSecret(), supervisor(id, cluster))
		if err != nil {
			return fmt.Errorf("API server: %w", err)
		}
		return withAPIServer(ctx, api, func(ctx context.Context) error {
			dropped, err := stage(s, p, cluster, address)
			if err != nil {
				return fmt.Errorf("packaged components: %w", err)
			}
			return runComponents(ctx, s, p, dropped, api.client, func(ctx context.Context) error {
				if s.DisableAgent {
					ready()
					<-ctx.Done()
					return nil
				}
				return runNode(ctx, s, id, cluster, address, api.client, ready)
			})
		})
	})
}

func clusterOf(s *settings.Settings) (agent.Cluster, error) {
	dns := s.ClusterDNS
	if dns == "" {
		ip, err := indexed(s.ServiceCIDR, 10)
		if err != nil {
			return agent.Cluster{}, fmt.Errorf("service-cidr: %w", err)
		}
		dns = ip.String()
	}
	return agent.Cluster{
		PodCIDR: s.ClusterCIDR, DNS: dns, Domain: s.ClusterDomain,
		KubeProxy: !s.DisableKubeProxy, BridgeNetwork: s.FlannelBackend != "none",
		Policies: !s.DisablePolicies,
	}, nil
}

// stage writes the manifests of the packaged components, and returns the files
// of those that are disabled now.
func stage(s *settings.Settings, p paths, cluster agent.Cluster, address net.IP) ([]string, error) {
	if err := os.MkdirAll(p.manifests(), 0o700); err != nil {
		return nil, err
	}
	name, err := agent.Name(s)
	if err != nil {
		return nil, err
	}
	storage := s.DefaultStoragePath
	if storage == "" {
		storage = filepath.Join(s.DataDir, "storage")
	}
	disable := s.Disable
	if s.DisablePolicies {
		disable = append(slices.Clone(disable), packaged.Policies)
	}
	return packaged.Stage(p.manifests(), disable, packaged.Values{
		ClusterDNS: cluster.DNS, ClusterDomain: cluster.Domain, StoragePath: storage,
		NodeHosts: address.String() + " " + name,
	})
}

// withDatastore runs f while the datastore is served. The datastore ends last,
// so that nothing which the API server has promised is lost.
func withDatastore(ctx context.Context, p paths, f func(context.Context) error) error {
	disk, err := datastore.Open(p.database())
	if err != nil {
		return err
	}
	storeCtx, stop := context.WithCancel(context.WithoutCancel(ctx))
	store, storeCtx := errgroup.WithContext(storeCtx)
	store.Go(func() error { return disk.Run(storeCtx) })
	store.Go(func() error { return datastore.Serve(storeCtx, disk, p.socket()) })
	ctx, cancel := context.WithCancel(ctx)
	context.AfterFunc(storeCtx, cancel)
	err = f(ctx)
	stop()
	return errors.Join(err, store.Wait())
}

// withAPIServer runs f once the API server is ready, and ends the API server
// after f.
func withAPIServer(ctx context.Context, api *apiServer, f func(context.Context) error) error {
	apiCtx, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		ended <- api.run(apiCtx)
		cancel()
	}()
	err := waitReady(ctx, api.client)
	if err == nil {
		klog.InfoS("API server is ready")
		err = f(ctx)
	}
	stop()
	select {
	case failed := <-ended:
		return errors.Join(err, failed)
	case <-time.After(stopTimeout):
		klog.InfoS("API server still has requests, not waiting for them")
		return err
	}
}

func waitReady(ctx context.Context, config *rest.Config) error {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	started := time.Now()
	for last := started; ; {
		answer, err := client.RESTClient().Get().AbsPath("/readyz").Param("verbose", "true").DoRaw(ctx)
		if err == nil {
			return nil
		}
		if time.Since(last) > 30*time.Second {
			last = time.Now()
			klog.InfoS("API server not ready yet", "seconds", int(time.Since(started).Seconds()), "checks", string(answer))
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("API server did not become ready: %w", context.Cause(ctx))
		case <-time.After(time.Second):
		}
	}
}

// runComponents starts what works through the API, one after the other, and
// ends when the first of them does.
func runComponents(ctx context.Context, s *settings.Settings, p paths, dropped []string, client *rest.Config, node func(context.Context) error) error {
	group, ctx := errgroup.WithContext(ctx)
	start := func(name string, run func() error) {
		group.Go(func() error {
			err := run()
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("%s ended: %w", name, orUnknown(err))
		})
	}
	if !s.DisableControllers {
		start("controller manager", func() error { return runControllers(ctx, s, defaultControllerArgs(s, p), client) })
	}
	if !s.DisableScheduler {
		start("scheduler", func() error { return runScheduler(ctx, s, client) })
	}
	manifests, err := newDeployer(p.manifests(), dropped, client)
	if err != nil {
		return err
	}
	start("manifests", func() error { return manifests.run(ctx) })
	start("node", func() error { return node(ctx) })
	return group.Wait()
}

func runNode(ctx context.Context, s *settings.Settings, id *identity, cluster agent.Cluster, address net.IP, client *rest.Config, ready func()) error {
	name, err := agent.Name(s)
	if err != nil {
		return err
	}
	server := "https://127.0.0.1:" + portText(s.HTTPSPort)
	if err := agent.PrepareLocal(s.DataDir, name, address, server, id.serverCA, id.clientCA); err != nil {
		return err
	}
	clientset, err := kubernetes.NewForConfig(client)
	if err != nil {
		return err
	}
	node := &agent.Node{
		Settings: s, Name: name, Address: address, Client: client, Neighbours: client, Cluster: cluster,
		Ready: func() {
			if err := markControlPlane(ctx, clientset, name); err != nil {
				klog.ErrorS(err, "node not marked as the control plane's")
			}
			ready()
		},
	}
	return node.Run(ctx)
}

// markControlPlane gives the server's own node the role that K3s gives it. A
// kubelet may not do so itself.
func markControlPlane(ctx context.Context, client kubernetes.Interface, name string) error {
	patch := []byte(`{"metadata":{"labels":{"node-role.kubernetes.io/control-plane":"true"}}}`)
	_, err := client.CoreV1().Nodes().Patch(ctx, name, types.StrategicMergePatchType, patch, metav1.PatchOptions{})
	return err
}

func orUnknown(err error) error {
	if err == nil {
		return errors.New("without an error")
	}
	return err
}
