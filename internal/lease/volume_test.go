package lease

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"
	. "github.com/onsi/gomega"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/vault/secrets"
	"sallyport.dev/sallyport/internal/vault/session"
	"sallyport.dev/sallyport/internal/vault/transport"
	"sallyport.dev/sallyport/test/builder"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// config is the VaultConfig that secrets are issued through.
var config = builder.VaultConfig("shop", "main", func(c *v1alpha1.VaultConfig) { c.UID = "config" })

// dynamicSecret is a secret with a lease, issued with a token.
func dynamicSecret(name, key string, duration time.Duration, renewable bool, token session.TokenTerm) DynamicSecret {
	return DynamicSecret{Name: name, SecretKey: key, Config: config, Issued: &secrets.Issued{
		Lease: secrets.Lease{ID: secrets.NewLeaseID("", "database/creds/app/"+name), Duration: duration, Renewable: renewable}, Token: token,
	}}
}

func TestALeaseIsRenewedOrReplacedAtTwoThirds(t *testing.T) {
	never := session.TokenTerm{ID: "t"}
	dies := func(in time.Duration) session.TokenTerm { return session.TokenTerm{ID: "t", ExpireTime: noon.Add(in)} }
	certificate := DynamicSecret{Name: "a", SecretKey: "s", Config: config, Issued: &secrets.Issued{ExpireTime: noon.Add(time.Hour), Token: dies(time.Minute)}}
	for name, c := range map[string]struct {
		secret         DynamicSecret
		renew, replace time.Duration
	}{
		"renewable, with a token that lives on":    {dynamicSecret("a", "s", time.Hour, true, never), time.Hour, 0},
		"renewable, with a token that dies sooner": {dynamicSecret("a", "s", time.Hour, true, dies(30*time.Minute)), time.Hour, 30 * time.Minute},
		"renewable, with a token that dies later":  {dynamicSecret("a", "s", time.Hour, true, dies(24*time.Hour)), time.Hour, 24 * time.Hour},
		"not renewable": {dynamicSecret("a", "s", time.Hour, false, never), 0, time.Hour},
		"not renewable, a token that dies sooner": {dynamicSecret("a", "s", time.Hour, false, dies(30*time.Minute)), 0, 30 * time.Minute},
		"without an end":                            {dynamicSecret("a", "s", 0, false, never), 0, 0},
		"without a lease: it outlives its token":    {certificate, 0, time.Hour},
		"neither lease nor end, whatever the token": {DynamicSecret{Name: "a", SecretKey: "s", Config: config, Issued: &secrets.Issued{Token: dies(time.Minute)}}, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			h := c.secret.lease(noon)
			at := func(when time.Time, life time.Duration) {
				t.Helper()
				if life == 0 {
					g.Expect(when).To(BeZero())
					return
				}
				g.Expect(when.Sub(noon)).To(And(BeNumerically("<=", life*2/3), BeNumerically(">", life*2/3-life/10)))
			}
			at(h.renewAt(), c.renew)
			at(h.replaceAt(), c.replace)
			l := VolumeLeases{Leases: []Lease{h}}
			g.Expect(l.NextAction()).To(Equal(earliest(h.renewAt(), h.replaceAt())))
		})
	}
}

func TestVolumesThatCameTogetherDoNotStayTogether(t *testing.T) {
	g := NewWithT(t)
	times := map[time.Time]bool{}
	for i := range 100 {
		times[twoThirds(noon, noon.Add(time.Hour), fmt.Sprint(i))] = true
	}
	g.Expect(len(times)).To(BeNumerically(">", 80))
}

func TestALeaseFollowsItsToken(t *testing.T) {
	g := NewWithT(t)
	h := dynamicSecret("a", "s", time.Hour, true, session.TokenTerm{ID: "t", ExpireTime: noon.Add(10 * time.Minute)}).lease(noon)
	later := noon.Add(5 * time.Minute)
	renewed := h.withToken(session.TokenTerm{ID: "t", ExpireTime: later.Add(10 * time.Minute)}, later)
	g.Expect(renewed.replaceAt()).To(BeTemporally(">", h.replaceAt()), "the token was renewed")
	another := h.withToken(session.TokenTerm{ID: "u", ExpireTime: later.Add(time.Hour)}, later)
	g.Expect(another.replaceAt()).To(Equal(h.replaceAt()), "the session has another token, and the lease ends with the former")
	g.Expect(h.withToken(session.TokenTerm{ID: "t", ExpireTime: noon.Add(10*time.Minute + time.Millisecond)}, later).replaceAt()).
		To(Equal(h.replaceAt()), "a rounding error is no renewal")
	g.Expect(h.expired(noon.Add(10*time.Minute))).To(BeTrue(), "a lease ends with its token")
	g.Expect(renewed.expired(noon.Add(10 * time.Minute))).To(BeFalse())
}

func TestWhatIsReplacedStaysForAWhile(t *testing.T) {
	g := NewWithT(t)
	never := session.TokenTerm{ID: "t"}
	l := VolumeLeases{}
	l.Update([]string{"a", "b"}, []DynamicSecret{dynamicSecret("a1", "a", time.Hour, true, never), dynamicSecret("b1", "b", time.Hour, true, never)}, noon)
	g.Expect(l.NamesByKey()).To(Equal(map[string]string{"a": "a1", "b": "b1"}))

	l.Update([]string{"a", "b"}, nil, noon)
	g.Expect(l.NamesByKey()).To(Equal(map[string]string{"a": "a1", "b": "b1"}), "nothing was issued, nothing changes")

	l.Leases[0].replaceNow = true
	g.Expect(l.NamesByKey()).To(Equal(map[string]string{"b": "b1"}), "another is wanted")
	l.Leases[0].replaceNow = false

	l.Update([]string{"a", "b"}, []DynamicSecret{dynamicSecret("a2", "a", time.Hour, true, never)}, noon)
	g.Expect(l.NamesByKey()).To(Equal(map[string]string{"a": "a2", "b": "b1"}))
	g.Expect(l.has("a1")).To(BeTrue())
	g.Expect(l.NextAction()).To(BeTemporally("<=", noon.Add(maxOverlap)))

	l.Update([]string{"a"}, nil, noon)
	g.Expect(l.NamesByKey()).To(Equal(map[string]string{"a": "a2"}), "the Connection has no b any more")
	g.Expect(l.has("b1")).To(BeTrue(), "which the pod may still use")

	find := func(id string) Lease {
		for _, h := range l.Leases {
			if h.Name == id {
				return h
			}
		}
		return Lease{}
	}
	g.Expect(find("a1").RevokeAt).To(Equal(noon.Add(maxOverlap)))
	for i := range maxReplaced {
		l.Update([]string{"a"}, []DynamicSecret{dynamicSecret(fmt.Sprint("more", i), "a", time.Hour, true, never)}, noon.Add(time.Minute))
	}
	g.Expect(find("a1").RevokeAt).To(Equal(noon.Add(time.Minute)), "the oldest go at once if there are too many")
	g.Expect(l.NamesByKey()).To(HaveLen(1))
	for i := range 2 * maxUnrevoked {
		l.Update([]string{"a"}, []DynamicSecret{dynamicSecret(fmt.Sprint("even more", i), "a", time.Hour, true, never)}, noon.Add(time.Minute))
	}
	g.Expect(l.Leases).To(HaveLen(maxUnrevoked+1), "Vault revokes none of them")
	g.Expect(l.NamesByKey()).To(Equal(map[string]string{"a": fmt.Sprint("even more", 2*maxUnrevoked-1)}))

	l = VolumeLeases{}
	plain := DynamicSecret{Name: "c1", SecretKey: "c", Config: config, Issued: &secrets.Issued{}}
	l.Update([]string{"c"}, []DynamicSecret{plain}, noon)
	l.Update(nil, nil, noon)
	g.Expect(l.Leases).To(BeEmpty(), "there is nothing to revoke")
}

func TestNothingPrintsLeases(t *testing.T) {
	const canary = "database/creds/app/canary"
	d := DynamicSecret{Name: "a", SecretKey: "s", Config: config, Issued: &secrets.Issued{
		Secret: secrets.Secret{Path: "database/creds/app", Data: map[string]any{"password": canary}}, Lease: secrets.Lease{ID: secrets.NewLeaseID("", canary)},
	}}
	h := d.lease(noon)
	kept := Token{Value: canary}
	l := VolumeLeases{Volume: Volume{ID: "csi-1"}, Leases: []Lease{h}, Tokens: map[string]Token{"t": kept}}
	for name, thing := range map[string]any{
		"issued": d, "pointer to issued": &d, "lease": h, "pointer to lease": &h, "leases of a volume": l, "pointer to leases of a volume": &l, "list": l.Leases,
		"within another": struct{ Kept *VolumeLeases }{&l}, "pending": pendingVolume{leases: []Lease{h}}, "pointer to pending": &pendingVolume{leases: []Lease{h}},
		"token": kept, "pointer to token": &kept, "tokens": l.Tokens, "token of a session": kept.ofLease(&h),
		"queued": revocation{lease: h}, "pointer to queued": &revocation{lease: h},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
				g.Expect(fmt.Sprintf(verb, thing)).NotTo(ContainSubstring("canary"), verb)
				g.Expect(fmt.Sprintf(verb, thing)).NotTo(ContainSubstring(fmt.Sprintf("%x", "canary")), verb)
			}
		})
	}
	for _, thing := range []any{d, &d, h, &h, &l, kept, &kept} {
		var logged bytes.Buffer
		funcr.New(func(prefix, args string) { logged.WriteString(prefix + args) }, funcr.Options{}).Info("x", "thing", thing)
		NewWithT(t).Expect(logged.String()).NotTo(ContainSubstring("canary"))
	}
	NewWithT(t).Expect(json.Marshal(l)).To(ContainSubstring("canary"), "it is there to be encrypted")
}

func TestTheStateKeepsTheTokensThatItsLeasesEndWith(t *testing.T) {
	g := NewWithT(t)
	issued := func(name, key, token string) DynamicSecret {
		d := dynamicSecret(name, key, time.Hour, true, session.TokenTerm{ID: token, ExpireTime: noon.Add(time.Hour)})
		d.Issued.LeaseToken = session.LeaseToken{Token: transport.NewToken("hvs." + token), ID: token, CreationTTL: time.Hour}
		return d
	}
	l := &VolumeLeases{}
	l.Update([]string{"a", "b", "c"}, []DynamicSecret{issued("a1", "a", "one"), issued("b1", "b", "one"), dynamicSecret("c1", "c", time.Hour, true, session.TokenTerm{ID: "static"})}, noon)
	g.Expect(l.Tokens).To(Equal(map[string]Token{"one": {Value: "hvs.one", TTL: time.Hour}}), "once, and none that lies in a Secret")
	l.Update([]string{"a", "b", "c"}, []DynamicSecret{issued("a2", "a", "two"), issued("b2", "b", "two")}, noon)
	g.Expect(l.Tokens).To(HaveLen(2), "what was replaced is still to be revoked")
	l.Leases = slices.DeleteFunc(l.Leases, func(l Lease) bool { return !l.RevokeAt.IsZero() })
	l.Update([]string{"a", "b", "c"}, nil, noon)
	g.Expect(l.Tokens).To(HaveLen(1))
	g.Expect(l.Tokens).To(HaveKey("two"))

	encoded, err := json.Marshal(l)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(len(encoded)).To(BeNumerically("<", 2048), "it comes with each request")
	var former struct { // of a version that knew no tokens, which reads what this one writes, and the other way round
		Volume Volume  `json:"volume"`
		Leases []Lease `json:"holdings"`
	}
	g.Expect(json.Unmarshal(encoded, &former)).To(Succeed())
	g.Expect(former.Leases).To(HaveLen(len(l.Leases)))
	encoded, err = json.Marshal(former)
	g.Expect(err).NotTo(HaveOccurred())
	again := &VolumeLeases{}
	g.Expect(json.Unmarshal(encoded, again)).To(Succeed())
	again.Update([]string{"a", "b", "c"}, nil, noon)
	g.Expect(again.Leases).To(HaveLen(len(l.Leases)))
	g.Expect(again.Tokens).To(BeEmpty())
}

func TestALeaseKeepsTheNamespaceOfVaultThatItIsIn(t *testing.T) {
	g := NewWithT(t)
	secret := dynamicSecret("a", "k", time.Minute, true, session.TokenTerm{})
	secret.Issued.Lease.ID = secrets.NewLeaseID("child/b", "database/creds/app/a")
	state, err := json.Marshal(secret.lease(time.Now()))
	g.Expect(err).NotTo(HaveOccurred())
	var l Lease
	g.Expect(json.Unmarshal(state, &l)).To(Succeed())
	g.Expect(l.id().Reveal()).To(Equal("database/creds/app/a"))
	g.Expect(l.id().Below()).To(Equal("child/b"))
}
