// Package redaction checks that what holds a secret does not print it. For tests only.
package redaction

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/go-logr/logr/funcr"
	. "github.com/onsi/gomega"
)

// Secret is what things are to hold and not to print.
const Secret = "hvs.CAESIcanary"

// Check prints each thing in every way that a careless line of code could.
func Check(t *testing.T, things map[string]any) {
	t.Helper()
	for name, thing := range things {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			for _, text := range printed(thing) {
				g.Expect(strings.ToLower(text)).NotTo(ContainSubstring("canary"))
				g.Expect(strings.ToLower(text)).NotTo(ContainSubstring(fmt.Sprintf("%x", "canary")))
			}
		})
	}
}

func printed(thing any) []string {
	var texts []string
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T"} {
		texts = append(texts, fmt.Sprintf(verb, thing))
	}
	encoded, _ := json.Marshal(thing)
	texts = append(texts, string(encoded), fmt.Sprint(thing), fmt.Errorf("wrapped: %v", thing).Error())
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "thing", thing)
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "thing", thing)
	funcr.New(func(prefix, args string) { log.WriteString(prefix + args) }, funcr.Options{}).Info("x", "thing", thing)
	return append(texts, log.String())
}
