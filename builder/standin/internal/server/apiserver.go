package server

import (
	"context"
	"fmt"
	"net"
	"net/http"

	noopoteltrace "go.opentelemetry.io/otel/trace/noop"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/apiserver"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/endpoints/discovery/aggregated"
	openapinamer "k8s.io/apiserver/pkg/endpoints/openapi"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/filters"
	serverstorage "k8s.io/apiserver/pkg/server/storage"
	"k8s.io/apiserver/pkg/util/openapi"
	"k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	aggregatorscheme "k8s.io/kube-aggregator/pkg/apiserver/scheme"
	kubeapiserverapp "k8s.io/kubernetes/cmd/kube-apiserver/app"
	kubeapiserveroptions "k8s.io/kubernetes/cmd/kube-apiserver/app/options"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	"k8s.io/kubernetes/pkg/controlplane"
	controlplaneapiserver "k8s.io/kubernetes/pkg/controlplane/apiserver"
	generatedopenapi "k8s.io/kubernetes/pkg/generated/openapi"
	"k8s.io/kubernetes/pkg/kubeapiserver"

	"edgeimg.local/standin/internal/flagset"
	"edgeimg.local/standin/internal/inprocess"
	"edgeimg.local/standin/internal/settings"
)

// defaultAPIServerArgs are the API server's flags on a gateway. Those of the
// settings come after them and win.
func defaultAPIServerArgs(s *settings.Settings, p paths, address net.IP) []string {
	issuer := "https://kubernetes.default.svc." + s.ClusterDomain
	advertise := address.String()
	if s.AdvertiseAddress != "" {
		advertise = s.AdvertiseAddress
	}
	bind := s.BindAddress
	if bind == "" {
		bind = "0.0.0.0"
	}
	return []string{
		"etcd-servers=unix://" + p.socket(),
		"etcd-count-metric-poll-period=0",
		"etcd-db-metric-poll-interval=0",
		"service-cluster-ip-range=" + s.ServiceCIDR,
		"service-node-port-range=" + s.ServiceNodePortRange,
		"advertise-address=" + advertise,
		"bind-address=" + bind,
		"secure-port=" + portText(s.HTTPSPort),
		"tls-cert-file=" + p.cert(certAPIServer),
		"tls-private-key-file=" + p.key(certAPIServer),
		"client-ca-file=" + p.cert(caClient),
		"requestheader-client-ca-file=" + p.cert(caAggregation),
		"requestheader-allowed-names=system:auth-proxy",
		"requestheader-username-headers=X-Remote-User",
		"requestheader-group-headers=X-Remote-Group",
		"requestheader-extra-headers-prefix=X-Remote-Extra-",
		"proxy-client-cert-file=" + p.cert(certAggregation),
		"proxy-client-key-file=" + p.key(certAggregation),
		"kubelet-client-certificate=" + p.cert(certToKubelet),
		"kubelet-client-key=" + p.key(certToKubelet),
		"kubelet-certificate-authority=" + p.cert(caServer),
		"kubelet-preferred-address-types=InternalIP,ExternalIP,Hostname",
		"service-account-issuer=" + issuer,
		"service-account-key-file=" + p.serviceKey(),
		"service-account-signing-key-file=" + p.serviceKey(),
		"authorization-mode=Node,RBAC",
		"enable-admission-plugins=NodeRestriction",
		"anonymous-auth=false",
		"allow-privileged=true",
		"profiling=false",
		// One node has no unfair neighbours, and fairness costs memory and
		// start-up time.
		"enable-priority-and-fairness=false",
		"runtime-config=flowcontrol.apiserver.k8s.io/v1=false",
		// Nor does anything but fairness ask how large lists are. Counting makes
		// the cache of every kind wait for the datastore once a minute; on a
		// slow machine these waits ran out of time and held up everything else.
		"feature-gates=SizeBasedListCostEstimate=false",
		// Handlers of watches of this process need not be waited for.
		"shutdown-watch-termination-grace-period=0s",
	}
}

// apiServer is the chain of API servers, not started yet.
type apiServer struct {
	run       func(context.Context) error
	client    *rest.Config
	transport *inprocess.Transport
}

// newAPIServer builds the API server. Its clients in this process reach it
// through an in-process transport; TLS is for everyone else.
func newAPIServer(ctx context.Context, s *settings.Settings, args []string, secret string, extra http.Handler) (*apiServer, error) {
	options := kubeapiserveroptions.NewServerRunOptions()
	if err := flagset.Parse(options.Flags(), append(args, s.APIServerArgs...)); err != nil {
		return nil, fmt.Errorf("kube-apiserver-arg: %w", err)
	}
	if err := options.GenericServerRunOptions.ComponentGlobalsRegistry.Set(); err != nil {
		return nil, err
	}
	completed, err := options.Complete(ctx)
	if err != nil {
		return nil, err
	}
	if problems := completed.Validate(); len(problems) != 0 {
		return nil, errors.NewAggregate(problems)
	}
	transport := inprocess.NewTransport()
	client := &rest.Config{
		Host:        "http://in-process",
		Transport:   transport,
		BearerToken: secret,
		QPS:         -1,
		ContentConfig: rest.ContentConfig{
			ContentType: runtime.ContentTypeProtobuf,
		},
		DisableCompression: true,
		// The API server warns itself of its own Endpoints every ten seconds, for good.
		WarningHandler: rest.NoWarnings{},
	}
	config, err := chainConfig(completed, client, extra)
	if err != nil {
		return nil, err
	}
	ready, err := config.Complete()
	if err != nil {
		return nil, err
	}
	chain, err := kubeapiserverapp.CreateServerChain(ready)
	if err != nil {
		return nil, err
	}
	prepared, err := chain.PrepareRun()
	if err != nil {
		return nil, err
	}
	transport.Serve(chain.GenericAPIServer.Handler)
	return &apiServer{run: prepared.Run, client: client, transport: transport}, nil
}

// chainConfig configures the three API servers of the chain, as
// kubeapiserverapp.NewConfig does from the same options.
func chainConfig(options kubeapiserveroptions.CompletedOptions, client *rest.Config, extra http.Handler) (*kubeapiserverapp.Config, error) {
	generic, informers, storage, err := genericConfig(options, client)
	if err != nil {
		return nil, err
	}
	generic.BuildHandlerChainFunc = func(api http.Handler, c *genericapiserver.Config) http.Handler {
		chain := genericapiserver.DefaultBuildHandlerChain(api, c)
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if isSupervisorPath(r.URL.Path) {
				extra.ServeHTTP(w, r)
				return
			}
			chain.ServeHTTP(w, r)
		})
	}
	kube, resolver, initializers, err := kubeapiserverapp.CreateKubeAPIServerConfig(options, generic, informers, storage)
	if err != nil {
		return nil, err
	}
	plane := kube.ControlPlane
	// Nothing reads the old form of the API's description any more, and
	// putting it together costs a tenth of the start and some megabytes.
	plane.Generic.OpenAPIConfig = nil
	authentication := webhook.NewDefaultAuthenticationInfoResolverWrapper(
		plane.ProxyTransport, plane.Generic.EgressSelector, client, plane.Generic.TracerProvider)
	extensions, err := controlplaneapiserver.CreateAPIExtensionsConfig(
		*plane.Generic, plane.VersionedInformers, initializers, options.CompletedOptions, options.MasterCount, resolver, authentication)
	if err != nil {
		return nil, err
	}
	aggregator, err := controlplaneapiserver.CreateAggregatorConfig(
		*plane.Generic, options.CompletedOptions, plane.VersionedInformers, resolver, plane.ProxyTransport, plane.Extra.PeerProxy, initializers)
	if err != nil {
		return nil, err
	}
	return &kubeapiserverapp.Config{Options: options, Aggregator: aggregator, KubeAPIs: kube, ApiExtensions: extensions}, nil
}

// genericConfig is what controlplaneapiserver.BuildGenericConfig makes, but
// for the client that the server calls itself with: that one insists on TLS,
// with two RSA keys made at every start.
func genericConfig(options kubeapiserveroptions.CompletedOptions, client *rest.Config) (*genericapiserver.Config, informers.SharedInformerFactory, *serverstorage.DefaultStorageFactory, error) {
	config := genericapiserver.NewConfig(legacyscheme.Codecs)
	config.MergedResourceConfig = controlplane.DefaultAPIResourceConfigSource()
	config.LoopbackClientConfig = client
	config.LongRunningFunc = filters.BasicLongRunningRequestCheck(
		sets.NewString("watch", "proxy"), sets.NewString("attach", "exec", "proxy", "log", "portforward"))
	config.AggregatedDiscoveryGroupManager = aggregated.NewResourceManager("apis")
	describe(config)

	clientset, err := kubernetes.NewForConfig(client)
	if err != nil {
		return nil, nil, nil, err
	}
	shared := informers.NewSharedInformerFactoryWithOptions(clientset, 0, informers.WithTransform(dropManagedFields))
	storage, err := applyOptions(options, config, clientset, shared)
	return config, shared, storage, err
}

// describe sets up the API's description (OpenAPI), which server-side apply
// needs too.
func describe(config *genericapiserver.Config) {
	definitions := openapi.GetOpenAPIDefinitionsWithoutDisabledFeatures(generatedopenapi.GetOpenAPIDefinitions)
	namer := openapinamer.NewDefinitionNamer(legacyscheme.Scheme, apiextensions.Scheme, aggregatorscheme.Scheme)
	config.OpenAPIConfig = genericapiserver.DefaultOpenAPIConfig(definitions, namer)
	config.OpenAPIConfig.Info.Title = "Kubernetes"
	config.OpenAPIV3Config = genericapiserver.DefaultOpenAPIV3Config(definitions, namer)
	config.OpenAPIV3Config.Info.Title = "Kubernetes"
}

func applyOptions(o kubeapiserveroptions.CompletedOptions, config *genericapiserver.Config, clientset kubernetes.Interface, shared informers.SharedInformerFactory) (*serverstorage.DefaultStorageFactory, error) {
	if err := o.GenericServerRunOptions.ApplyTo(config); err != nil {
		return nil, err
	}
	if err := o.SecureServing.SecureServingOptions.ApplyTo(&config.SecureServing); err != nil {
		return nil, err
	}
	if err := o.Features.ApplyTo(config, clientset, shared); err != nil {
		return nil, err
	}
	if err := o.APIEnablement.ApplyTo(config, config.MergedResourceConfig, legacyscheme.Scheme); err != nil {
		return nil, err
	}
	o.Etcd.StorageConfig.Transport.TracerProvider = noopoteltrace.NewTracerProvider()
	factory := kubeapiserver.NewStorageFactoryConfigEffectiveVersion(config.EffectiveVersion)
	factory.APIResourceConfig = config.MergedResourceConfig
	factory.DefaultResourceEncoding.SetEffectiveVersion(config.EffectiveVersion)
	storage, err := factory.Complete(o.Etcd).New()
	if err != nil {
		return nil, err
	}
	storage.StorageConfig.StorageObjectCountTracker = config.StorageObjectCountTracker
	if err := o.Etcd.ApplyWithStorageFactoryTo(storage, config); err != nil {
		return nil, err
	}
	ctx := wait.ContextForChannel(config.DrainedNotify())
	if err := o.Authentication.ApplyTo(ctx, &config.Authentication, config.SecureServing, config.EgressSelector,
		config.OpenAPIConfig, config.OpenAPIV3Config, clientset, shared, config.APIServerID); err != nil {
		return nil, err
	}
	config.Authorization.Authorizer, config.RuleResolver, _, err = controlplaneapiserver.BuildAuthorizer(
		ctx, o.CompletedOptions, config.EgressSelector, config.APIServerID, shared)
	if err != nil {
		return nil, err
	}
	return storage, o.Audit.ApplyTo(config)
}
