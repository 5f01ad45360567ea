package vaultconfig

import (
	"context"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/requeue"
	"sallyport.dev/sallyport/internal/status"
	"sallyport.dev/sallyport/internal/tracing"
	"sallyport.dev/sallyport/internal/vault/auth"
	"sallyport.dev/sallyport/internal/vault/session"
	"sallyport.dev/sallyport/internal/vault/transport"
)

// healthInterval is how often Vault's health, and with it the credential's Secret, is looked at while all is well.
const healthInterval = 30 * time.Second

const (
	// shortWait is how long a worker waits for sys/health, and at the first look at a VaultConfig for the login. What
	// takes longer goes on without it, so that Vaults that hang do not keep the first looks at others waiting, which all
	// come at once when a leader starts.
	shortWait = 500 * time.Millisecond
	// resultPause is when to ask for the result of what took longer. That of sys/health stands for longer.
	resultPause = 2 * time.Second
	// patience is how long that is tried. With many such Vaults in a namespace, workers come back when the result no
	// longer stands; then one waits for it.
	patience = 10 * time.Second
)

// +kubebuilder:rbac:groups=sallyport.dev,resources=vaultconfigs,verbs=get;list;watch
// +kubebuilder:rbac:groups=sallyport.dev,resources=vaultconfigs/status,verbs=get;update;patch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// Reconciler reconciles VaultConfigs.
type Reconciler struct {
	client   client.Client
	sessions *session.Sessions
	recorder events.EventRecorder
	clock    clock.PassiveClock
	renewals *renewals
	// looked holds the VaultConfigs at which there was a look.
	looked sync.Map
	// pending holds since when there is no result, for those of which there is none.
	pending sync.Map
}

// NewReconciler returns a reconciler.
func NewReconciler(
	c client.Client, sessions *session.Sessions, recorder events.EventRecorder, clk clock.PassiveClock,
) *Reconciler {
	return &Reconciler{client: c, sessions: sessions, recorder: recorder, clock: clk, renewals: newRenewals(clk)}
}

// SetupWithManager registers the reconciler with a manager.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).
		Named("vaultconfig").
		For(&v1alpha1.VaultConfig{},
			builder.WithPredicates(predicate.Or[client.Object](predicate.GenerationChangedPredicate{}, requeue.Refreshed))).
		WatchesRawSource(source.Func(r.renewals.start)).
		WatchesRawSource(source.Func(r.followSessions)).
		WithOptions(requeue.Options(requeue.VaultWorkers)).
		Complete(r)
}

// followSessions makes the controller look at each VaultConfig whose session can be used no more, or again, whoever of
// this process learned that.
func (r *Reconciler) followSessions(
	_ context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request],
) error {
	r.sessions.OnTurn(func(config types.NamespacedName) { queue.Add(reconcile.Request{NamespacedName: config}) })
	return nil
}

// Reconcile looks at Vault and at the session once and reports what it found.
func (r *Reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	config := &v1alpha1.VaultConfig{}
	if err := r.client.Get(ctx, request.NamespacedName, config); err != nil {
		if client.IgnoreNotFound(err) == nil {
			r.renewals.drop(request.NamespacedName)
			r.looked.Delete(request.NamespacedName)
			r.pending.Delete(request.NamespacedName)
		}
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !config.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, nil
	}
	before := config.DeepCopy()
	looking, span := tracing.Start(ctx, tracing.Internal, "look at", fault.KindVaultConfig)
	span.About(fault.Subject{Kind: fault.KindVaultConfig, Namespace: config.Namespace, Name: config.Name})
	found := r.observe(looking, config)
	span.EndIn(found.fault())
	if found.pending {
		r.pending.LoadOrStore(request.NamespacedName, r.clock.Now())
		return ctrl.Result{RequeueAfter: resultPause}, nil
	}
	r.pending.Delete(request.NamespacedName)
	found.report(&config.Status, config)
	if !equality.Semantic.DeepEqual(before.Status, config.Status) {
		// Other controllers do not write this status, but a deposed leader may still be about to: the lock makes it
		// fail.
		patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
		if err := r.client.Status().Patch(ctx, config, patch); err != nil {
			return ctrl.Result{}, client.IgnoreNotFound(err)
		}
		r.recordTransitions(before, config)
	}
	return r.nextLook(found)
}

// nextLook decides when to come back.
func (r *Reconciler) nextLook(found observation) (ctrl.Result, error) {
	if f := found.fault(); f != nil {
		return requeue.For(f)
	}
	// Spread, so that VaultConfigs which began together do not come together for ever.
	after := wait.Jitter(healthInterval, 0.2)
	if dies := found.token.ExpireTime; !dies.IsZero() {
		if until := dies.Sub(r.clock.Now()); until > 0 {
			after = min(after, max(until, 100*time.Millisecond))
		}
	}
	return ctrl.Result{RequeueAfter: after}, nil
}

// observe looks at Vault and at the session, and plans the renewal of its token.
func (r *Reconciler) observe(ctx context.Context, config *v1alpha1.VaultConfig) observation {
	ctx, cancel := context.WithTimeout(ctx, requeue.LookTime)
	defer cancel()
	key := client.ObjectKeyFromObject(config)
	found := observation{
		enabled: enabled(config.Spec.Enabled), autoRenew: enabled(config.Spec.AutoRenew),
		workload: auth.IsWorkload(config),
	}
	r.observeHealth(ctx, config, &found)
	if found.health.NoNamespaces {
		found.authErr = session.NamesNamespace(config)
	}
	if found.pending || found.healthErr != nil || found.authErr != nil || found.workload {
		return found
	}
	login := ctx
	if _, again := r.looked.LoadOrStore(key, struct{}{}); !again {
		var left context.CancelFunc
		login, left = context.WithTimeout(ctx, shortWait)
		defer left()
	}
	session, err := r.sessions.For(login, config)
	switch {
	case err == nil:
	case login.Err() != nil && ctx.Err() == nil:
		found.pending = true
		return found
	case found.hidden && slices.Contains(unhealthy, fault.From(err).Reason):
		found.healthErr = fault.From(err)
		return found
	default:
		found.authErr, found.refused = fault.From(err), r.sessions.RefusedLogin(config.UID)
		return found
	}
	found.renewErr = r.renewals.failure(key, session)
	if found.autoRenew {
		r.renewals.plan(config, session) //nolint:contextcheck // it outlives this look
	} else {
		r.renewals.drop(key)
	}
	found.token = session.Token()
	found.nextRenewal = session.NextRenewal()
	// A login that is rejected now says nothing about the token of an earlier one, which lives until it dies.
	if found.renewErr != nil && found.renewErr.Reason == v1alpha1.ReasonAuthFailed && !found.token.FromLogin {
		found.authErr, found.renewErr = found.renewErr, nil
	}
	return found
}

// recordTransitions records an event for each condition that changed. It is called after the status is stored.
func (r *Reconciler) recordTransitions(before, after *v1alpha1.VaultConfig) {
	for _, conditionType := range []string{
		v1alpha1.ConditionReady, v1alpha1.ConditionSuspended, v1alpha1.ConditionRenewing,
		v1alpha1.ConditionCredentialLimited,
	} {
		if event, ok := transition(before.Status.Conditions, after.Status.Conditions, conditionType); ok {
			r.recorder.Eventf(after, nil, event.kind, event.reason, event.action, "%s", status.Note(event.note))
		}
	}
}

// unhealthy are the reasons of a login that failed because of Vault and not of what it was offered.
var unhealthy = []string{
	v1alpha1.ReasonVaultUnreachable, v1alpha1.ReasonTLSFailed, v1alpha1.ReasonVaultSealed, v1alpha1.ReasonVaultError,
}

// observeHealth asks Vault how it is. Where something in front of Vault hides that, a login shows whether Vault serves;
// where only pods log in, an answer at the path of logins.
func (r *Reconciler) observeHealth(ctx context.Context, config *v1alpha1.VaultConfig, found *observation) {
	look := ctx
	if !r.waitedLong(client.ObjectKeyFromObject(config)) {
		var left context.CancelFunc
		look, left = context.WithTimeout(ctx, shortWait)
		defer left()
	}
	health, err := r.sessions.Health(look, config)
	hidden := transport.HealthHidden(err)
	if hidden && found.workload {
		err = r.sessions.Serves(look, config)
	}
	switch {
	case err != nil && look.Err() != nil && ctx.Err() == nil:
		found.pending = true
	case hidden && (err == nil || !found.workload):
		found.hidden = true
	case err != nil:
		found.healthErr = withOutage(config, fault.From(err))
	default:
		found.health, found.healthErr = health, withOutage(config, unableToServe(config, health))
	}
}

// withOutage says of a Vault that cannot be reached with what pods start meanwhile, where the spec wants that.
func withOutage(config *v1alpha1.VaultConfig, f *fault.Fault) *fault.Fault {
	if f == nil || !f.Unreachable || config.Spec.Outage == nil {
		return f
	}
	return f.AddRemedy("meanwhile pods may start with secrets that were read in the last %s (spec.outage.serveFor)",
		config.Spec.Outage.ServeFor.Duration)
}

// waitedLong tells whether a VaultConfig has had no result for a while.
func (r *Reconciler) waitedLong(config types.NamespacedName) bool {
	value, _ := r.pending.Load(config)
	since, pending := value.(time.Time)
	return pending && r.clock.Since(since) >= patience
}

// unableToServe finds what a Vault lacks that answers but cannot serve.
func unableToServe(config *v1alpha1.VaultConfig, health transport.Health) *fault.Fault {
	switch {
	case !health.Initialized:
		return fault.Transient(v1alpha1.ReasonVaultSealed, "Vault at %s is not initialized", config.Spec.URL).
			WithRemedy("initialize and unseal it").WithUnreachable()
	case health.Sealed:
		return fault.Transient(v1alpha1.ReasonVaultSealed, "Vault at %s is sealed", config.Spec.URL).
			WithRemedy("unseal it").WithUnreachable()
	case health.Secondary:
		return fault.Transient(v1alpha1.ReasonVaultError,
			"Vault at %s is a disaster recovery secondary, which serves nobody until it is promoted", config.Spec.URL).
			WithRemedy("point spec.url at the primary")
	}
	return nil
}

// enabled is true unless it is set to false.
func enabled(flag *bool) bool { return flag == nil || *flag }
