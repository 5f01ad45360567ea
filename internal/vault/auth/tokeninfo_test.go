package auth

import (
	"encoding/json"
	"maps"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"sallyport.dev/sallyport/internal/vault/transport"
)

func TestNewTokenInfo(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	// Vault's clock is an hour ahead; its times are compared with each other only.
	service := map[string]any{
		"creation_time": json.Number("1777640400"), // 13:00
		"creation_ttl":  json.Number("3600"),
		"ttl":           json.Number("1800"),
		"expire_time":   "2026-05-01T14:00:00.5Z",
		"renewable":     true,
		"type":          "service",
		"num_uses":      json.Number("7"),
		"policies":      []any{"default", "b"},

		"identity_policies": []any{"a", "b"},
		"explicit_max_ttl":  json.Number("0"),
	}
	base := TokenInfo{
		Namespace:  transport.RootNamespace,
		ExpireTime: now.Add(30 * time.Minute), CreationTTL: time.Hour, TTL: 30 * time.Minute, Renewable: true,
		Policies: []string{"a", "b", "default"}, Type: "service", NumUses: 7, created: 1777640400,
	}
	tests := []struct {
		name   string
		change map[string]any
		expect func(*TokenInfo)
	}{
		{"a service token", nil, func(*TokenInfo) {}},
		{"a token that never expires", map[string]any{
			"expire_time": nil, "ttl": json.Number("0"), "creation_ttl": json.Number("0"), "renewable": nil,
		},
			func(i *TokenInfo) { i.ExpireTime, i.TTL, i.CreationTTL, i.Renewable = time.Time{}, 0, 0, false }},
		{"a max TTL that is still far", map[string]any{"explicit_max_ttl": json.Number("7200")},
			func(i *TokenInfo) { i.LatestEnd = time.Unix(1777640400+7200, 0) }},
		{
			"a max TTL that is reached", map[string]any{"explicit_max_ttl": json.Number("3600")},
			func(i *TokenInfo) { i.MaxTTLReached, i.LatestEnd = true, time.Unix(1777640400+3600, 0) },
		},
		{
			"a periodic token", map[string]any{"period": json.Number("600")},
			func(i *TokenInfo) { i.CreationTTL, i.uncapped = 10*time.Minute, true },
		},
		{"a periodic token with a max TTL", map[string]any{
			"period": json.Number("600"), "explicit_max_ttl": json.Number("7200"),
		},
			func(i *TokenInfo) { i.CreationTTL, i.LatestEnd = 10*time.Minute, time.Unix(1777640400+7200, 0) }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			data := maps.Clone(service)
			maps.Copy(data, test.change)
			expected := base
			test.expect(&expected)
			NewWithT(t).Expect(newTokenInfo(data, now)).To(Equal(expected))
		})
	}
}

func TestRenewed(t *testing.T) {
	g := NewWithT(t)
	now := time.Now()
	before := TokenInfo{CreationTTL: time.Hour, Renewable: true, ExpireTime: now.Add(time.Minute)}
	full := before.Renewed(time.Hour, true, now)
	g.Expect(full.ExpireTime).To(Equal(now.Add(time.Hour)))
	g.Expect(full.LastRenewal).To(Equal(now))
	g.Expect(full.MaxTTLReached).To(BeFalse())
	g.Expect(full.Extendable()).To(BeTrue())

	capped := before.Renewed(50*time.Minute, true, now)
	g.Expect(capped.MaxTTLReached).To(BeTrue())
	g.Expect(capped.Extendable()).To(BeFalse())
	g.Expect(before.Renewed(time.Hour-time.Second, true, now).MaxTTLReached).To(BeFalse(), "a second passed on the way")
	g.Expect(before.Renewed(time.Hour, false, now).Extendable()).To(BeFalse())

	before.uncapped = true
	g.Expect(before.Renewed(50*time.Minute, true, now).MaxTTLReached).To(BeFalse(), "the mount caps the period, not the token's life")
}
