package scale

import (
	"bufio"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

// sample is one look at the figures of a Prometheus endpoint: value by metric, with its labels as they are written.
type sample map[string]float64

func parse(content io.Reader) (sample, error) {
	found := sample{}
	lines := bufio.NewScanner(content)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		i := strings.LastIndexByte(line, ' ')
		if i < 0 || line[0] == '#' {
			continue
		}
		if number, err := strconv.ParseFloat(line[i+1:], 64); err == nil {
			found[line[:i]] = number
		}
	}
	return found, lines.Err()
}

// plus is the sum of two.
func (s sample) plus(other sample) sample {
	sum := maps.Clone(s)
	for name, value := range other {
		sum[name] += value
	}
	return sum
}

// sum adds up the series of a metric that have all of these labels: `verb="GET"`.
func (s sample) sum(metric string, labels ...string) float64 {
	var total float64
series:
	for name, value := range s {
		if rest, is := strings.CutPrefix(name, metric); !is || rest != "" && rest[0] != '{' {
			continue
		}
		for _, label := range labels {
			if !strings.Contains(name, label) {
				continue series
			}
		}
		total += value
	}
	return total
}

// label is what a series says of one.
func label(series, name string) string {
	_, rest, _ := strings.Cut(series, name+`="`)
	value, _, _ := strings.Cut(rest, `"`)
	return value
}

// writing are the verbs of what the API server stores.
var writing = []string{"POST", "PUT", "PATCH", "APPLY", "DELETE", "DELETECOLLECTION"}

// notStored are the resources of what it only answers.
var notStored = []string{"tokenreviews", "subjectaccessreviews", "selfsubjectaccessreviews"}

// Quantities that are counted. Each is what was added meanwhile, all processes of a kind together.
const (
	seconds = "seconds"

	volumeReviews  = "TokenReviews"
	podReads       = "reads of pods"
	otherReads     = "other reads of the API server"
	apiWrites      = "writes to the API server"
	leaseWrites    = "of the leader's lease"
	vaultReads     = "reads of secrets in Vault"
	vaultRequests  = "requests to Vault"
	resolves       = "requests to resolvers"
	refreshes      = "refreshes of volumes"
	refreshFailed  = "of these failed"
	controllerCPU  = "controllers' CPU, s"
	apiServerCPU   = "API server's CPU, s"
	nodesCPU       = "nodes' CPU, s"
	controllerSize = "a controller's memory, MiB"
	resolvesPeak   = "requests to resolvers, most in a second"
	apiPeak        = "controllers' requests to the API server, most in a second"
	vaultPeak      = "requests to Vault, most in a second"
)

// peakOf are the quantities of which the most in a second is of interest.
var peakOf = map[string]string{resolves: resolvesPeak, apiPeak: apiPeak, vaultRequests: vaultPeak}

// counts are the quantities at a moment.
type counts map[string]float64

// count looks at everything.
func (w *world) count(t *testing.T) counts {
	t.Helper()
	g := NewWithT(t)
	content, err := w.cluster.Clients.RESTClient().Get().AbsPath("/metrics").DoRaw(t.Context())
	g.Expect(err).NotTo(HaveOccurred())
	api, err := parse(strings.NewReader(string(content)))
	g.Expect(err).NotTo(HaveOccurred())
	response, err := w.cluster.vault.Client().Logical().ReadRawWithDataWithContext(t.Context(), "sys/metrics", map[string][]string{"format": {"prometheus"}})
	g.Expect(err).NotTo(HaveOccurred())
	defer func() { _ = response.Body.Close() }()
	vault, err := parse(response.Body)
	g.Expect(err).NotTo(HaveOccurred())
	found := counts{
		seconds:       float64(time.Now().UnixMilli()) / 1000,
		vaultReads:    vault["vault_route_read_secret__count"],
		apiServerCPU:  api["process_cpu_seconds_total"],
		nodesCPU:      ownCPU(),
		refreshes:     w.machines.gathered(t, "sallyport_node_refreshes_total", false, every),
		refreshFailed: w.machines.gathered(t, "sallyport_node_refreshes_total", false, failed),
	}
	maps.Copy(found, w.countReplicas())
	for series, value := range api {
		if strings.HasPrefix(series, "apiserver_request_total{") {
			found[kindOf(label(series, "verb"), label(series, "resource"))] += value
		}
	}
	delete(found, "")
	return found
}

// countReplicas looks at the controllers alone.
func (w *world) countReplicas() counts {
	found := counts{}
	for _, r := range w.cluster.replicas {
		r.look()
		all := r.counted()
		found[resolves] += all.sum("sallyport_resolver_calls_total", `method="Resolve`) // and ResolveEach
		found[vaultRequests] += all.sum("sallyport_vault_requests_total")
		found[apiPeak] += all.sum("rest_client_requests_total")
		found[controllerCPU] += all["process_cpu_seconds_total"]
		found[controllerSize] = max(found[controllerSize], r.gauge("process_resident_memory_bytes")/(1<<20))
	}
	return found
}

// kindOf is the quantity that a request to the API server belongs to; empty: none. What this program asks itself
// is none: it makes and deletes pods, and asks for metrics.
func kindOf(verb, resource string) string {
	write := slices.Contains(writing, verb)
	switch {
	case resource == "tokenreviews":
		return volumeReviews
	case resource == "pods" && verb == "GET":
		return podReads
	case resource == "" || resource == "pods" || slices.Contains(notStored, resource):
		return ""
	case resource == "leases" && write:
		return leaseWrites
	case write:
		return apiWrites
	case verb == "GET" || verb == "LIST":
		return otherReads
	}
	return ""
}

// ownCPU is what this process, in which all nodes live, has used of the processors so far.
func ownCPU() float64 {
	var usage syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &usage) != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()).Seconds()
}
