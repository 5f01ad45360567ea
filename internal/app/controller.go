package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/flowcontrol"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrlconfig "sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/controllers/connection"
	"sallyport.dev/sallyport/controllers/restart"
	"sallyport.dev/sallyport/controllers/vaultconfig"
	"sallyport.dev/sallyport/controllers/vaulttask"
	"sallyport.dev/sallyport/internal/abridged"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/lease"
	"sallyport.dev/sallyport/internal/metricsauth"
	"sallyport.dev/sallyport/internal/objectmetrics"
	"sallyport.dev/sallyport/internal/resolver"
	"sallyport.dev/sallyport/internal/resolver/server"
	"sallyport.dev/sallyport/internal/resolver/usage"
	"sallyport.dev/sallyport/internal/vault/session"
	"sallyport.dev/sallyport/internal/vault/transport/metering"
	"sallyport.dev/sallyport/internal/vault/transport/networks"
)

// +kubebuilder:rbac:groups="",resources=pods,verbs=get
// +kubebuilder:rbac:groups=authentication.k8s.io,resources=tokenreviews,verbs=create
// +kubebuilder:rbac:groups="",namespace=sallyport-system,resources=configmaps,verbs=create
// +kubebuilder:rbac:groups="",namespace=sallyport-system,resources=configmaps,resourceNames=sallyport-resolvers,verbs=get;patch
// +kubebuilder:rbac:groups=coordination.k8s.io,namespace=sallyport-system,resources=leases,verbs=create;get;update;patch
// +kubebuilder:rbac:groups="",namespace=sallyport-system,resources=events,verbs=create;patch

// leaderElectionID names the Lease of the controllers.
const leaderElectionID = "sallyport-controller"

func (m *controllerMode) run(ctx context.Context, log logr.Logger) error {
	exporter, err := startTracing(ctx, "sallyport-controller", m.options.PodName, log)
	if err != nil {
		return err
	}
	defer exporter.Stop(ctx)
	mgr, err := NewController(exporter.Context(ctx), m.options, log)
	if err != nil {
		return err
	}
	return mgr.Start(ctx)
}

// NewController wires the controllers and the resolver of one replica into a manager, ready to start. What ctx carries,
// such as what makes spans, everything has that runs in it.
func NewController(ctx context.Context, options ControllerOptions, log logr.Logger) (manager.Manager, error) {
	mgr, err := newManager(ctx, options, log)
	if err != nil {
		return nil, err
	}
	clk := clock.RealClock{}
	clients, err := kubernetes.NewForConfig(mgr.GetConfig())
	if err != nil {
		return nil, fmt.Errorf("making a Kubernetes client: %w", err)
	}
	guard, err := networks.NewGuard(options.AllowedVaultNetworks, []string{options.APIServer, options.PodIP})
	if err != nil {
		return nil, fmt.Errorf("allowed Vault networks: %w", err)
	}
	sessions, err := session.NewSessions(session.Options{
		Reader: mgr.GetAPIReader(), Kubernetes: clients, Clock: clk, Networks: guard,
		AllowedURLs: options.AllowedVaultURLs, AllowedProxyURLs: options.AllowedProxyURLs, Leading: leading(mgr),
		RequestsPerSecond: options.VaultRequestsPerSecond, Burst: options.VaultBurst,
	})
	if err != nil {
		return nil, err
	}
	if err := mgr.Add(sessions); err != nil {
		return nil, fmt.Errorf("adding the sessions: %w", err)
	}
	engine := resolver.NewEngine(mgr.GetClient(), sessions, clk)
	if err := watchKinds(ctx, mgr.GetCache(), forgetter{sessions.Forget, engine.ForgetConfig}); err != nil {
		return nil, err
	}
	if err := connection.Index(ctx, mgr.GetFieldIndexer()); err != nil {
		return nil, fmt.Errorf("indexing Connections: %w", err)
	}
	if err := followTasks(ctx, mgr, engine); err != nil {
		return nil, err
	}
	if err := addResolver(mgr, options, clients, sessions, engine, log); err != nil {
		return nil, err
	}
	recorder := mgr.GetEventRecorder("sallyport")
	for _, reconciler := range []interface{ SetupWithManager(ctrl.Manager) error }{
		vaultconfig.NewReconciler(mgr.GetClient(), sessions, recorder, clk),
		connection.NewReconciler(mgr.GetClient(), engine, recorder),
		vaulttask.NewReconciler(mgr.GetClient(), mgr.GetAPIReader(), engine, sessions, recorder, clk),
	} {
		if err := reconciler.SetupWithManager(mgr); err != nil {
			return nil, fmt.Errorf("setting up %T: %w", reconciler, err)
		}
	}
	for _, reconciler := range restart.NewReconcilers(mgr.GetClient(), mgr.GetCache(), mgr.GetAPIReader(), recorder, clk) {
		if err := reconciler.SetupWithManager(mgr); err != nil {
			return nil, fmt.Errorf("setting up %T: %w", reconciler, err)
		}
	}
	return mgr, nil
}

// leading tells whether this replica runs the controllers.
func leading(mgr manager.Manager) func() bool {
	return func() bool {
		select {
		case <-mgr.Elected():
			return true
		default:
			return false
		}
	}
}

func newManager(ctx context.Context, options ControllerOptions, log logr.Logger) (manager.Manager, error) {
	config := options.Config
	if config == nil {
		var err error
		if config, err = ctrl.GetConfig(); err != nil {
			return nil, fmt.Errorf("finding the Kubernetes API: %w", err)
		}
	}
	config = rest.CopyConfig(config)
	// One limit for all clients that are made of it; each would have one of its own, for each kind, without. The leader's
	// Lease has another one: renewals that wait behind a thousand pods would lose it.
	config.QPS = -1
	ofLease := rest.CopyConfig(config)
	if options.KubeAPIQPS > 0 {
		config.RateLimiter = flowcontrol.NewTokenBucketRateLimiter(float32(options.KubeAPIQPS), max(options.KubeAPIBurst, 1))
	}
	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		return nil, err
	}
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return nil, err
	}
	return ctrl.NewManager(config, ctrl.Options{
		Scheme:                        scheme,
		BaseContext:                   func() context.Context { return context.WithoutCancel(ctx) },
		Logger:                        log,
		LeaderElection:                options.LeaderElect,
		LeaderElectionConfig:          ofLease,
		LeaderElectionID:              leaderElectionID,
		LeaderElectionNamespace:       options.PodNamespace,
		LeaderElectionReleaseOnCancel: true,
		Metrics:                       metricsOptions(options),
		HealthProbeBindAddress:        options.ProbeAddress,
		Controller:                    ctrlconfig.Controller{SkipNameValidation: &options.SkipNameValidation},
		// Only our own kinds and the metadata of namespaces and workloads are cached, large ones abridged. Everything else
		// is read when it is needed: a forgotten Get must fail rather than start an informer that holds every Secret of the
		// cluster in memory.
		Cache: cache.Options{
			ReaderFailOnMissingInformer: true, DefaultTransform: abridged.Transform, NewInformer: abridged.NewInformer,
		},
		NewClient: newClient,
		Client: client.Options{Cache: &client.CacheOptions{
			DisableFor: []client.Object{&corev1.Secret{}, &corev1.ConfigMap{}, &corev1.Pod{}},
		}},
	})
}

// metricsOptions serve metrics over plain http for everybody, or over TLS for whom the API server allows.
func metricsOptions(options ControllerOptions) metricsserver.Options {
	served := metricsserver.Options{BindAddress: options.MetricsAddress}
	if options.SecureMetrics {
		served.SecureServing, served.CertDir, served.FilterProvider = true, options.MetricsCertDir, metricsauth.New
		served.TLSOpts = []func(*tls.Config){func(config *tls.Config) {
			config.MinVersion, config.NextProtos = tls.VersionTLS13, []string{"http/1.1"}
		}}
	}
	return served
}

// newClient returns the client of the manager, whose cache keeps large objects abridged.
func newClient(config *rest.Config, options client.Options) (client.Client, error) {
	cached, err := client.New(config, options)
	if err != nil {
		return nil, err
	}
	options.Cache = nil
	live, err := client.New(config, options)
	if err != nil {
		return nil, err
	}
	return abridged.NewClient(cached, live), nil
}

// forgetter drops what is kept of a VaultConfig that is gone, or was edited, and of a Connection that is gone.
type forgetter struct{ sessions, values func(types.UID) }

// watchKinds starts the informers that the resolver reads from. The controllers start theirs only in the leader; the
// resolver needs them in every replica.
func watchKinds(ctx context.Context, informers cache.Informers, forget forgetter) error {
	connections, err := informers.GetInformer(ctx, &v1alpha1.Connection{}, cache.BlockUntilSynced(false))
	if err != nil {
		return fmt.Errorf("watching Connections: %w", err)
	}
	_, err = connections.AddEventHandler(toolscache.ResourceEventHandlerFuncs{DeleteFunc: func(object any) {
		if connection, ok := deleted(object).(*v1alpha1.Connection); ok {
			fault.Guarded(ctx, func() { forget.sessions(connection.UID) })()
		}
	}})
	if err != nil {
		return fmt.Errorf("following Connections: %w", err)
	}
	namespaces := &metav1.PartialObjectMetadata{}
	namespaces.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Namespace"))
	if _, err := informers.GetInformer(ctx, namespaces, cache.BlockUntilSynced(false)); err != nil {
		return fmt.Errorf("watching namespaces: %w", err)
	}
	configs, err := informers.GetInformer(ctx, &v1alpha1.VaultConfig{}, cache.BlockUntilSynced(false))
	if err != nil {
		return fmt.Errorf("watching VaultConfigs: %w", err)
	}
	_, err = configs.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		UpdateFunc: func(before, after any) {
			old, wasConfig := before.(*v1alpha1.VaultConfig)
			config, isConfig := after.(*v1alpha1.VaultConfig)
			if wasConfig && isConfig && old.Generation != config.Generation {
				fault.Guarded(ctx, func() { forget.values(old.UID) })()
			}
		},
		DeleteFunc: func(object any) {
			if config, ok := deleted(object).(*v1alpha1.VaultConfig); ok {
				fault.Guarded(ctx, func() { forget.sessions(config.UID); forget.values(config.UID) })()
			}
		},
	})
	return err
}

// deleted is the object that an informer saw go, or did not see go and knows as it was.
func deleted(object any) any {
	if gone, ok := object.(toolscache.DeletedFinalStateUnknown); ok {
		return gone.Obj
	}
	return object
}

// followTasks tells this replica's engine of secrets that VaultTasks have changed, whichever replica ran them.
func followTasks(ctx context.Context, mgr manager.Manager, engine *resolver.Engine) error {
	tasks, err := mgr.GetCache().GetInformer(ctx, &v1alpha1.VaultTask{}, cache.BlockUntilSynced(false))
	if err != nil {
		return fmt.Errorf("watching VaultTasks: %w", err)
	}
	follower := newTaskFollower(mgr.GetCache(), engine.Changed)
	_, err = tasks.AddEventHandler(toolscache.ResourceEventHandlerFuncs{UpdateFunc: func(before, after any) {
		old, wasTask := before.(*v1alpha1.VaultTask)
		task, isTask := after.(*v1alpha1.VaultTask)
		if wasTask && isTask {
			fault.Guarded(ctx, func() { follower.updated(ctx, old, task) })()
		}
	}})
	return err
}

// addResolver adds what serves and publishes this replica's resolver.
func addResolver(
	mgr manager.Manager, options ControllerOptions, clients kubernetes.Interface,
	sessions *session.Sessions, engine *resolver.Engine, log logr.Logger,
) error {
	clk := clock.RealClock{}
	certificate, err := server.NewServingCertificate(options.PodName, net.ParseIP(options.PodIP), clk)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", options.ResolverAddress)
	if err != nil {
		return fmt.Errorf("listening for nodes: %w", err)
	}
	log = log.WithName("resolver")
	configMaps := clients.CoreV1().ConfigMaps(options.PodNamespace)
	publisher := server.NewPublisher(configMaps, certificate, log)
	volumes := usage.NewVolumeTracker(clk)
	leases := lease.NewManager(lease.Options{
		Objects: mgr.GetClient(), Uncached: mgr.GetAPIReader(), Sessions: sessions,
		Secrets: clients.CoreV1().Secrets(options.PodNamespace), Clock: clk, Log: log,
	})
	authorizer := server.NewAuthorizer(clients.AuthenticationV1().TokenReviews(), mgr.GetAPIReader(),
		options.nodeServiceAccount(), server.NewGrants(leases, clk),
		server.NewTokenIssuer(clients.CoreV1().RESTClient(), clk, log))
	if err := registerMetrics(metrics.Registry, mgr.GetCache(), leading(mgr), leases, volumes); err != nil {
		return fmt.Errorf("registering metrics: %w", err)
	}
	for _, runnable := range []manager.Runnable{
		server.New(server.Options{
			Engine: engine, Connections: mgr.GetClient(), Authorizer: authorizer, Leases: leases, Volumes: volumes,
			Events:      server.NewPodEvents(mgr.GetEventRecorder("sallyport"), clk),
			Certificate: certificate, Listener: listener, Log: log,
		}),
		leases,
		usage.NewMountStatusReporter(usage.ReporterOptions{
			Volumes: volumes, Client: mgr.GetClient(), ConfigMaps: configMaps, Replica: options.PodName,
			RefreshInterval: resolver.RefreshInterval, Clock: clk, Log: log,
		}),
		publisher,
		server.NewPruner(configMaps, clients.CoreV1().Pods(options.PodNamespace), log),
	} {
		if err := mgr.Add(runnable); err != nil {
			return fmt.Errorf("adding the resolver: %w", err)
		}
	}
	if err := mgr.AddReadyzCheck("resolver", publisher.Ready); err != nil {
		return err
	}
	return mgr.AddHealthzCheck("ping", healthz.Ping)
}

func registerMetrics(
	registry prometheus.Registerer, objects client.Reader, leading func() bool,
	leases *lease.Manager, volumes *usage.VolumeTracker,
) error {
	return errors.Join(
		server.RegisterMetrics(registry), lease.RegisterMetrics(registry, leases), usage.RegisterMetrics(registry, volumes),
		metering.RegisterMetrics(registry), objectmetrics.RegisterMetrics(registry, objects, leading),
	)
}
