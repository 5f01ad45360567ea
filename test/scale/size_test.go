package scale

import (
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

// size is how much of everything there is, and how slowly time passes.
type size struct {
	Nodes      int `json:"nodes"`
	Volumes    int `json:"volumes"`
	Secrets    int `json:"secrets"`
	Namespaces int `json:"namespaces"`
	// Interval is the refreshInterval of all Connections, in seconds; at 60 time is not slowed.
	Interval int `json:"refreshInterval"`
	// Rest and Outage are how long what rests is watched, and how long the replicas are away, in seconds.
	Rest   int `json:"rest"`
	Outage int `json:"outage"`
	// Memory is the memory limit of each replica, in MiB; nothing but the Go runtime holds it.
	Memory int `json:"memory"`
}

// wanted is the size that the environment says; the full one where it says none. Not every refreshInterval is as good
// as another: a grant lives ten minutes and is renewed by a refresh in the last tenth of that, of which there is one with
// 60 and 180 seconds, and none with 120.
func wanted(t *testing.T) size {
	t.Helper()
	s := size{
		Nodes: setting(t, "SCALE_NODES", 1000), Volumes: setting(t, "SCALE_VOLUMES", 100_000),
		Secrets: setting(t, "SCALE_SECRETS", 20_000), Namespaces: setting(t, "SCALE_NAMESPACES", 500),
		Interval: setting(t, "SCALE_INTERVAL", 180), Rest: setting(t, "SCALE_REST", 600), Outage: setting(t, "SCALE_OUTAGE", 60),
		Memory: setting(t, "SCALE_MEMORY", 512),
	}
	g := NewWithT(t)
	g.Expect(s.Nodes).To(BeNumerically(">=", 5), "SCALE_NODES: a fifth of them is drained")
	g.Expect(s.Volumes).To(BeNumerically(">=", s.Secrets), "SCALE_VOLUMES: each secret is mounted at least once")
	g.Expect(s.Secrets).To(BeNumerically(">=", s.Namespaces), "SCALE_SECRETS: each namespace has at least one")
	return s
}

func (s size) interval() time.Duration { return time.Duration(s.Interval) * time.Second }

// nodeOf is the node that a volume is mounted on: those with the same secret are far from each other.
func (s size) nodeOf(volume int) int { return (volume + volume/s.Secrets*(s.Nodes/5+1)) % s.Nodes }

// poll is how often all volumes or Connections are looked at: that must not cost what is measured.
func (s size) poll() time.Duration {
	return max(time.Second, time.Duration(s.Volumes)*50*time.Microsecond)
}

func (s size) String() string {
	return fmt.Sprintf("%d nodes, %d volumes, %d secrets, %d namespaces, refreshInterval %d s", s.Nodes, s.Volumes, s.Secrets, s.Namespaces, s.Interval)
}

// setting is a positive number from the environment.
func setting(t *testing.T, name string, byDefault int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return byDefault
	}
	number, err := strconv.Atoi(text)
	NewWithT(t).Expect(err).NotTo(HaveOccurred(), name+" must be a number")
	NewWithT(t).Expect(number).To(BeNumerically(">", 0), name+" must be positive")
	return number
}
