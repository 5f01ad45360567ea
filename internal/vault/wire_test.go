package vault

import (
	"crypto/tls"
	"net/http"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"k8s.io/utils/clock"
)

func TestHTTPClientTakesNothingFromTheEnvironment(t *testing.T) {
	g := NewWithT(t)
	client := newHTTPClient(route{origin: "https://a", trust: publicTrust()})
	transport, ok := client.Transport.(*bounded)
	g.Expect(ok).To(BeTrue())
	g.Expect(transport.Proxy).To(BeNil())
	g.Expect(transport.TLSClientConfig.MinVersion).To(Equal(uint16(tls.VersionTLS12)))
	g.Expect(transport.TLSClientConfig.InsecureSkipVerify).To(BeFalse())
	g.Expect(transport.TLSClientConfig.RootCAs).NotTo(BeNil(), "nil would be the system's")
	g.Expect(transport.TLSClientConfig.Certificates).To(BeEmpty())
	g.Expect(client.Jar).To(BeNil())
	g.Expect(client.CheckRedirect(nil, nil)).To(Equal(http.ErrUseLastResponse))
}

func TestWiresAreSharedByTheSameWayOnly(t *testing.T) {
	g := NewWithT(t)
	all := wires{timeout: time.Second, clock: clock.RealClock{}, byKey: map[routeKey]*wire{}}
	get := func(change func(*route)) *wire {
		way := route{origin: "https://a", trust: publicTrust()}
		change(&way)
		w, err := all.get(way)
		g.Expect(err).NotTo(HaveOccurred())
		return w
	}
	same := func(*route) {}
	a := get(same)
	g.Expect(get(same)).To(BeIdenticalTo(a))
	for _, change := range []func(*route){
		func(r *route) { r.origin = "https://b" },
		func(r *route) { r.trust = trust{pool: publicRoots(), key: [32]byte{1}} },
		func(r *route) { r.serverName = "b" },
		func(r *route) { r.proxy = "http://proxy" },
		func(r *route) { r.shown = &clientCertificate{key: [32]byte{1}} },
		func(r *route) { r.shown = &clientCertificate{key: [32]byte{2}} },
	} {
		g.Expect(get(change)).NotTo(BeIdenticalTo(a))
		g.Expect(get(change)).To(BeIdenticalTo(get(change)))
	}
	g.Expect(all.byKey).To(HaveLen(7))
	all.keep(map[*wire]bool{a: true, nil: true})
	g.Expect(all.byKey).To(HaveLen(1))
	g.Expect(get(same)).To(BeIdenticalTo(a))
}

func TestShowingACertificateChangesTheWireAndNothingElse(t *testing.T) {
	g := NewWithT(t)
	all := &wires{timeout: time.Second, clock: clock.RealClock{}, byKey: map[routeKey]*wire{}}
	w, err := all.get(route{origin: "https://a", trust: publicTrust(), serverName: "b"})
	g.Expect(err).NotTo(HaveOccurred())
	l := &link{wire: w, namespace: "team-a", timeout: time.Minute, pace: newPace(nil), wires: all}
	shown := &clientCertificate{key: [32]byte{1}}
	other, err := l.showing(shown)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(other.wire).NotTo(BeIdenticalTo(w))
	g.Expect(other.route).To(Equal(route{origin: "https://a", trust: publicTrust(), serverName: "b", shown: shown}))
	g.Expect([]any{other.namespace, other.timeout, other.pace}).To(Equal([]any{l.namespace, l.timeout, l.pace}))
	again, err := l.showing(shown)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(again.wire).To(BeIdenticalTo(other.wire))
}
