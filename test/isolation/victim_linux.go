package isolation

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/builder"
	"sallyport.dev/sallyport/test/env"
)

const (
	// victimNamespace is that of the well-behaved tenant.
	victimNamespace = "victim"
	// renewedConfigs are its VaultConfigs with short-lived tokens: enough for a renewal every two or three seconds.
	renewedConfigs = 4
	// renewedTTL is how long these tokens live. A renewal is due after two thirds of it, less up to a tenth, so that
	// one that is five seconds late still finds the token alive, and one that is later does not.
	renewedTTL = 15 * time.Second
	// refreshInterval is the shortest that the API allows.
	refreshInterval = 5 * time.Second
	// pause between two samples of one column.
	pause = 250 * time.Millisecond
)

// Victim is the well-behaved tenant: one namespace, a VaultConfig, a few Connections, and a pod that stays.
type Victim struct {
	s        *System
	number   atomic.Int64
	resident *csi.NodePublishVolumeRequest
	renewals renewals
	// still is when the machine stood still, which is watched until stop is called.
	still standstills
	stop  context.CancelFunc
	// MountPause is what lies between two mounts that are measured. The shorter it is, the more a percentile says.
	MountPause time.Duration
	// renewed are its VaultConfigs whose tokens are renewed all the time, with these tokens.
	renewed map[string]string
}

// NewVictim makes the tenant's objects and waits until all is well.
func NewVictim(ctx context.Context, s *System) (*Victim, error) {
	v := &Victim{s: s, renewed: map[string]string{}, MountPause: pause}
	watching, stop := context.WithCancel(context.WithoutCancel(ctx))
	v.stop = stop
	go v.still.watch(watching)
	v.renewals.at = map[string][]time.Time{}
	s.Proxy.Observe(v.renewals.observe)
	s.Vault.Mount("ssh", "ssh")
	s.Vault.Write("ssh/roles/otp", map[string]any{"key_type": "otp", "default_user": "scott", "cidr_list": "0.0.0.0/0"})
	s.Vault.Policy("victim", `path "secret/*" { capabilities = ["create", "read", "update"] }
		path "ssh/creds/*" { capabilities = ["update"] }
		path "sys/leases/*" { capabilities = ["update"] }`)
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: victimNamespace}}
	if err := errors.Join(allowTenants(ctx, s), s.Client.Create(ctx, namespace)); err != nil {
		return nil, err
	}
	token := s.Vault.Token(env.TokenOptions{Policies: []string{"victim"}, TTL: time.Hour, Period: time.Hour})
	if err := v.addConfig(ctx, builder.ConfigName, token); err != nil {
		return nil, err
	}
	for range renewedConfigs {
		if err := v.addRenewed(ctx); err != nil {
			return nil, err
		}
	}
	v.write("steady", "1")
	v.write("rotated", "1")
	otp := builder.VaultSecret("", "creds/otp")
	otp.EnginePath, otp.Method = "ssh", v1alpha1.SecretMethodPost
	otp.Parameters = new(builder.JSON(map[string]any{"x": map[string]any{"ip": "192.0.2.1"}})["x"])
	for _, c := range []*v1alpha1.Connection{
		v.connection("steady", "steady"), v.connection("rotated", "rotated"),
		builder.Connection(victimNamespace, "leased", map[string]any{"value": "vault.secret(key)"}, builder.WithSecrets(otp)),
	} {
		if err := errors.Join(s.Client.Create(ctx, c), v.awaitReady(ctx, c, time.Minute)); err != nil {
			return nil, err
		}
	}
	err := v.mountResident(ctx)
	return v, err
}

// addRenewed makes a VaultConfig with a short-lived token.
func (v *Victim) addRenewed(ctx context.Context) error {
	name, token := v.next("renewed"), v.s.Vault.Token(env.TokenOptions{TTL: renewedTTL, Period: renewedTTL})
	if err := v.addConfig(ctx, name, token); err != nil {
		return err
	}
	v.renewed[name] = token
	v.renewals.begin(token)
	return nil
}

func (v *Victim) addConfig(ctx context.Context, name, token string) error {
	config := v.s.Vault.Config(victimNamespace, name, builder.WithURL(v.s.Proxy.URL()), builder.WithTokenSecret(name))
	return errors.Join(
		v.s.Client.Create(ctx, builder.TokenSecret(victimNamespace, name, token)),
		v.s.Client.Create(ctx, config), v.awaitReady(ctx, config, time.Minute),
	)
}

// connection has the file "value" with what is at a path of the victim's.
func (v *Victim) connection(name, path string) *v1alpha1.Connection {
	return builder.Connection(victimNamespace, name, map[string]any{"value": "vault.secret(value)"},
		builder.WithSecret("victim/"+path), builder.WithShortestRefresh)
}

// write rotates a secret.
func (v *Victim) write(path, value string) {
	v.s.Vault.PutKV("secret/data/victim/"+path, map[string]any{"value": value})
}

func (v *Victim) next(prefix string) string { return fmt.Sprintf("%s-%d", prefix, v.number.Add(1)) }

// awaitReady follows an object until it is Ready.
func (v *Victim) awaitReady(ctx context.Context, object client.Object, within time.Duration) error {
	return v.awaitCondition(ctx, object, v1alpha1.ConditionReady, within)
}

func (v *Victim) awaitCondition(ctx context.Context, object client.Object, condition string, within time.Duration) error {
	return eventually(ctx, within, func(ctx context.Context) error { return v.hasCondition(ctx, object, condition) })
}

func (v *Victim) isReady(ctx context.Context, object client.Object) error {
	return v.hasCondition(ctx, object, v1alpha1.ConditionReady)
}

func (v *Victim) hasCondition(ctx context.Context, object client.Object, condition string) error {
	if err := v.s.Client.Get(ctx, client.ObjectKeyFromObject(object), object); err != nil {
		return err
	}
	found := meta.FindStatusCondition(env.Conditions(object), condition)
	switch {
	case found == nil:
		return fmt.Errorf("%s has no condition %s yet", object.GetName(), condition)
	case found.Status != metav1.ConditionTrue || found.ObservedGeneration != object.GetGeneration():
		return fmt.Errorf("%s is not %s: %s: %s", object.GetName(), condition, found.Reason, found.Message)
	}
	return nil
}

// newVolume makes a pod that mounts a Connection, and all that a kubelet prepares before it calls the driver.
func (v *Victim) newVolume(ctx context.Context, connection string) (*corev1.Pod, *csi.NodePublishVolumeRequest, error) {
	pod, err := v.s.Node.CreatePod(ctx, victimNamespace, v.next(connection), map[string]string{v1alpha1.AttributeConnection: connection})
	if err != nil {
		return nil, nil, err
	}
	requests, err := v.s.Kubelet.Requests(ctx, pod)
	if err != nil {
		return nil, nil, err
	}
	return pod, requests[0], nil
}

// mountResident mounts the volume whose refresh is measured.
func (v *Victim) mountResident(ctx context.Context) (err error) {
	if _, v.resident, err = v.newVolume(ctx, "rotated"); err != nil {
		return err
	}
	return v.mount(ctx, v.resident, time.Minute)
}

// mount tries until a volume is mounted and its file is there, as a kubelet does.
func (v *Victim) mount(ctx context.Context, request *csi.NodePublishVolumeRequest, within time.Duration) error {
	return eventually(ctx, within, func(ctx context.Context) error {
		if err := v.s.Kubelet.Mount(ctx, request); err != nil {
			return err
		}
		return hasFile(request)
	})
}

func hasFile(request *csi.NodePublishVolumeRequest) error {
	content, err := os.ReadFile(filepath.Join(request.GetTargetPath(), "value"))
	if err == nil && len(content) == 0 {
		return errors.New("the file is empty")
	}
	return err
}

func (v *Victim) unmount(ctx context.Context, request *csi.NodePublishVolumeRequest, within time.Duration) error {
	return eventually(ctx, within, func(ctx context.Context) error { return v.s.Kubelet.Unmount(ctx, request) })
}

// Recover gives the victim what it has when all is well, whatever was broken: tokens that live, and its volume.
func (v *Victim) Recover(ctx context.Context) error {
	for name, token := range v.renewed {
		config := &v1alpha1.VaultConfig{ObjectMeta: metav1.ObjectMeta{Namespace: victimNamespace, Name: name}}
		if v.isReady(ctx, config) == nil {
			continue
		}
		v.renewals.end(token)
		delete(v.renewed, name)
		if err := errors.Join(v.s.Client.Delete(ctx, config), v.addRenewed(ctx)); err != nil {
			return err
		}
	}
	return v.mount(ctx, v.resident, time.Minute)
}

// allReady fails if a VaultConfig of the victim's is not, or if its volume is gone.
func (v *Victim) allReady(ctx context.Context) error {
	failures := []error{hasFile(v.resident)}
	for name := range v.renewed {
		config := &v1alpha1.VaultConfig{ObjectMeta: metav1.ObjectMeta{Namespace: victimNamespace, Name: name}}
		failures = append(failures, v.isReady(ctx, config))
	}
	return errors.Join(failures...)
}

// renewals are the times at which tokens were renewed.
type renewals struct {
	mu sync.Mutex
	at map[string][]time.Time
}

func (r *renewals) observe(request *http.Request) {
	if !strings.HasSuffix(request.URL.Path, "auth/token/renew-self") {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	token := request.Header.Get("X-Vault-Token")
	if _, ours := r.at[token]; ours {
		r.at[token] = append(r.at[token], time.Now())
	}
}

// lateness is, for each renewal that was due since a time, how late it was. A token's renewal is due after the same
// part of its life every time, so after the shortest time that there ever was between two of them. A token that nobody
// renews any more counts as late until now. The time in which the machine stood still does not count, and neither does a
// token that ended in it.
func (r *renewals) lateness(since time.Time, still *standstills) []time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	var late []time.Duration
	for _, at := range r.at {
		usual := renewedTTL * 2 / 3
		for i := range at[1:] {
			usual = min(usual, at[i+1].Sub(at[i]))
		}
		for i, last := range at {
			due, done := last.Add(usual), now
			if i+1 < len(at) {
				done = at[i+1]
			} else if end := last.Add(renewedTTL); end.Before(now) && still.within(due, end) > 0 {
				continue // its last third passed while the machine stood still; Recover makes another
			}
			if due.After(since) && due.Before(now) {
				late = append(late, done.Sub(due)-still.within(due, done))
			}
		}
	}
	return late
}

// begin and end say that a token is in use from now on, or no longer.
func (r *renewals) begin(token string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.at[token] = []time.Time{time.Now()}
}

func (r *renewals) end(token string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.at, token)
}

// Close takes the victim's volume away.
func (v *Victim) Close(ctx context.Context) error {
	v.stop()
	v.s.Proxy.Observe(func(*http.Request) {})
	return v.unmount(ctx, v.resident, time.Minute)
}
