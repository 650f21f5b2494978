package server

import (
	"context"
	"fmt"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/events"
	schedulerapp "k8s.io/kubernetes/cmd/kube-scheduler/app"
	schedulerconfig "k8s.io/kubernetes/cmd/kube-scheduler/app/config"
	scheduleroptions "k8s.io/kubernetes/cmd/kube-scheduler/app/options"
	"k8s.io/kubernetes/pkg/scheduler"
	"k8s.io/kubernetes/pkg/scheduler/apis/config/latest"
	"k8s.io/kubernetes/pkg/scheduler/profile"

	"edgeimg.local/standin/internal/flagset"
	"edgeimg.local/standin/internal/settings"
)

var defaultSchedulerArgs = []string{"leader-elect=false", "secure-port=0", "profiling=false"}

// runScheduler runs the scheduler until ctx ends.
func runScheduler(ctx context.Context, s *settings.Settings, client *rest.Config) error {
	config, err := configureScheduler(ctx, s, client)
	if err != nil {
		return err
	}
	component := config.ComponentConfig
	sched, err := scheduler.New(ctx, config.Client, config.InformerFactory, config.DynInformerFactory,
		profile.RecorderFactory(func(name string) events.EventRecorderLogger { return config.EventBroadcaster.NewRecorder(name) }),
		scheduler.WithComponentConfigVersion(component.APIVersion),
		scheduler.WithKubeConfig(config.KubeConfig),
		scheduler.WithProfiles(component.Profiles...),
		scheduler.WithPercentageOfNodesToScore(component.PercentageOfNodesToScore),
		scheduler.WithPodMaxBackoffSeconds(component.PodMaxBackoffSeconds),
		scheduler.WithPodInitialBackoffSeconds(component.PodInitialBackoffSeconds),
		scheduler.WithPodMaxInUnschedulablePodsDuration(config.PodMaxInUnschedulablePodsDuration),
		scheduler.WithExtenders(component.Extenders...),
		scheduler.WithParallelism(component.Parallelism),
	)
	if err != nil {
		return err
	}
	return schedulerapp.Run(ctx, config, sched)
}

// configureScheduler is the first half of schedulerapp.Setup, with clients
// that stay in the process.
func configureScheduler(ctx context.Context, s *settings.Settings, client *rest.Config) (*schedulerconfig.CompletedConfig, error) {
	options := scheduleroptions.NewOptions()
	args := append(append([]string{}, defaultSchedulerArgs...), s.SchedulerArgs...)
	if err := flagset.Parse(*options.Flags, args); err != nil {
		return nil, fmt.Errorf("kube-scheduler-arg: %w", err)
	}
	options.Master = client.Host // replaced below, but something must be there
	component, err := latest.Default()
	if err != nil {
		return nil, err
	}
	options.ComponentConfig = component
	config, err := options.Config(ctx)
	if err != nil {
		return nil, err
	}
	config.KubeConfig = rest.AddUserAgent(rest.CopyConfig(client), "kube-scheduler")
	clientset, err := kubernetes.NewForConfig(config.KubeConfig)
	if err != nil {
		return nil, err
	}
	dynamicClient, err := dynamic.NewForConfig(config.KubeConfig)
	if err != nil {
		return nil, err
	}
	config.Client = clientset
	config.EventBroadcaster = events.NewEventBroadcasterAdapterWithContext(ctx, clientset)
	config.InformerFactory = scheduler.NewInformerFactory(clientset, 0)
	config.DynInformerFactory = dynamicinformer.NewDynamicSharedInformerFactory(dynamicClient, 0)
	completed := config.Complete()
	return &completed, nil
}
