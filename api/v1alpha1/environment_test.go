package v1alpha1

import (
	"testing"

	. "github.com/onsi/gomega"
)

func TestWhichConnectionsAPodAsksForAsVariables(t *testing.T) {
	g := NewWithT(t)
	g.Expect(EnvironmentConnections(nil)).To(BeEmpty())
	g.Expect(EnvironmentConnections(map[string]string{AnnotationEnv: "db, SMTP_=mail ,CACHE_=cache,"})).
		To(Equal([]string{"db", "mail", "cache"}))
}
