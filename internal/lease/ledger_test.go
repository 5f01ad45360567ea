package lease

import (
	"bytes"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/vault/secrets"
	"sallyport.dev/sallyport/internal/vault/session"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// config is the VaultConfig that secrets are made through.
var config = &v1alpha1.VaultConfig{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "main", UID: "config"}}

// made is a secret of a slot with a lease, made with a token.
func made(id, slot string, duration time.Duration, renewable bool, token session.TokenTerm) Made {
	return Made{ID: id, Slot: slot, Config: config, Issued: &secrets.Issued{
		Lease: secrets.Lease{ID: secrets.NewLeaseID("database/creds/app/" + id), Duration: duration, Renewable: renewable}, Token: token,
	}}
}

func TestALeaseIsRenewedOrReplacedAtTwoThirds(t *testing.T) {
	never := session.TokenTerm{ID: "t"}
	dies := func(in time.Duration) session.TokenTerm { return session.TokenTerm{ID: "t", ExpireTime: noon.Add(in)} }
	certificate := Made{ID: "a", Slot: "s", Config: config, Issued: &secrets.Issued{ExpireTime: noon.Add(time.Hour), Token: dies(time.Minute)}}
	for name, c := range map[string]struct {
		made           Made
		renew, replace time.Duration
	}{
		"renewable, with a token that lives on":    {made("a", "s", time.Hour, true, never), time.Hour, 0},
		"renewable, with a token that dies sooner": {made("a", "s", time.Hour, true, dies(30*time.Minute)), time.Hour, 30 * time.Minute},
		"renewable, with a token that dies later":  {made("a", "s", time.Hour, true, dies(24*time.Hour)), time.Hour, 24 * time.Hour},
		"not renewable": {made("a", "s", time.Hour, false, never), 0, time.Hour},
		"not renewable, a token that dies sooner": {made("a", "s", time.Hour, false, dies(30*time.Minute)), 0, 30 * time.Minute},
		"without an end":                            {made("a", "s", 0, false, never), 0, 0},
		"without a lease: it outlives its token":    {certificate, 0, time.Hour},
		"neither lease nor end, whatever the token": {Made{ID: "a", Slot: "s", Config: config, Issued: &secrets.Issued{Token: dies(time.Minute)}}, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			h := c.made.holding(noon)
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
			l := Ledger{Holdings: []Holding{h}}
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

func TestAHoldingFollowsItsToken(t *testing.T) {
	g := NewWithT(t)
	h := made("a", "s", time.Hour, true, session.TokenTerm{ID: "t", ExpireTime: noon.Add(10 * time.Minute)}).holding(noon)
	later := noon.Add(5 * time.Minute)
	renewed := h.following(session.TokenTerm{ID: "t", ExpireTime: later.Add(10 * time.Minute)}, later)
	g.Expect(renewed.replaceAt()).To(BeTemporally(">", h.replaceAt()), "the token was renewed")
	another := h.following(session.TokenTerm{ID: "u", ExpireTime: later.Add(time.Hour)}, later)
	g.Expect(another.replaceAt()).To(Equal(h.replaceAt()), "the session has another token, and the lease ends with the former")
	g.Expect(h.following(session.TokenTerm{ID: "t", ExpireTime: noon.Add(10*time.Minute + time.Millisecond)}, later).replaceAt()).
		To(Equal(h.replaceAt()), "a rounding error is no renewal")
	g.Expect(h.expired(noon.Add(10*time.Minute))).To(BeTrue(), "a lease ends with its token")
	g.Expect(renewed.expired(noon.Add(10 * time.Minute))).To(BeFalse())
}

func TestWhatIsReplacedStaysForAWhile(t *testing.T) {
	g := NewWithT(t)
	never := session.TokenTerm{ID: "t"}
	l := Ledger{}
	l.Update([]string{"a", "b"}, []Made{made("a1", "a", time.Hour, true, never), made("b1", "b", time.Hour, true, never)}, noon)
	g.Expect(l.Held()).To(Equal(map[string]string{"a": "a1", "b": "b1"}))

	l.Update([]string{"a", "b"}, nil, noon)
	g.Expect(l.Held()).To(Equal(map[string]string{"a": "a1", "b": "b1"}), "nothing was made, nothing changes")

	l.Holdings[0].due = true
	g.Expect(l.Held()).To(Equal(map[string]string{"b": "b1"}), "another is wanted")
	l.Holdings[0].due = false

	l.Update([]string{"a", "b"}, []Made{made("a2", "a", time.Hour, true, never)}, noon)
	g.Expect(l.Held()).To(Equal(map[string]string{"a": "a2", "b": "b1"}))
	g.Expect(l.has("a1")).To(BeTrue())
	g.Expect(l.NextAction()).To(BeTemporally("<=", noon.Add(maxOverlap)))

	l.Update([]string{"a"}, nil, noon)
	g.Expect(l.Held()).To(Equal(map[string]string{"a": "a2"}), "the Connection has no b any more")
	g.Expect(l.has("b1")).To(BeTrue(), "which the pod may still use")

	find := func(id string) Holding {
		for _, h := range l.Holdings {
			if h.ID == id {
				return h
			}
		}
		return Holding{}
	}
	g.Expect(find("a1").ReleaseAt).To(Equal(noon.Add(maxOverlap)))
	for i := range maxRetiring {
		l.Update([]string{"a"}, []Made{made(fmt.Sprint("more", i), "a", time.Hour, true, never)}, noon.Add(time.Minute))
	}
	g.Expect(find("a1").ReleaseAt).To(Equal(noon.Add(time.Minute)), "the oldest go at once if there are too many")
	g.Expect(l.Held()).To(HaveLen(1))
	for i := range 2 * maxOverdue {
		l.Update([]string{"a"}, []Made{made(fmt.Sprint("even more", i), "a", time.Hour, true, never)}, noon.Add(time.Minute))
	}
	g.Expect(l.Holdings).To(HaveLen(maxOverdue+1), "Vault takes none of them back")
	g.Expect(l.Held()).To(Equal(map[string]string{"a": fmt.Sprint("even more", 2*maxOverdue-1)}))

	l = Ledger{}
	plain := Made{ID: "c1", Slot: "c", Config: config, Issued: &secrets.Issued{}}
	l.Update([]string{"c"}, []Made{plain}, noon)
	l.Update(nil, nil, noon)
	g.Expect(l.Holdings).To(BeEmpty(), "there is nothing to give back")
}

func TestNothingPrintsLeases(t *testing.T) {
	const canary = "database/creds/app/canary"
	m := Made{ID: "a", Slot: "s", Config: config, Issued: &secrets.Issued{
		Secret: secrets.Secret{Path: "database/creds/app", Data: map[string]any{"password": canary}}, Lease: secrets.Lease{ID: secrets.NewLeaseID(canary)},
	}}
	h := m.holding(noon)
	l := Ledger{Volume: Volume{ID: "csi-1"}, Holdings: []Holding{h}}
	for name, thing := range map[string]any{
		"made": m, "pointer to made": &m, "holding": h, "pointer to holding": &h, "ledger": l, "pointer to ledger": &l, "holdings": l.Holdings,
		"within another": struct{ Kept *Ledger }{&l}, "awaited": waiting{holdings: []Holding{h}}, "pointer to awaited": &waiting{holdings: []Holding{h}},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
				g.Expect(fmt.Sprintf(verb, thing)).NotTo(ContainSubstring("canary"), verb)
				g.Expect(fmt.Sprintf(verb, thing)).NotTo(ContainSubstring(fmt.Sprintf("%x", "canary")), verb)
			}
		})
	}
	for _, thing := range []any{m, &m, h, &h, &l} {
		var logged bytes.Buffer
		funcr.New(func(prefix, args string) { logged.WriteString(prefix + args) }, funcr.Options{}).Info("x", "thing", thing)
		NewWithT(t).Expect(logged.String()).NotTo(ContainSubstring("canary"))
	}
	NewWithT(t).Expect(json.Marshal(l)).To(ContainSubstring("canary"), "it is there to be sealed")
}
