package e2e

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	vaultapi "github.com/hashicorp/vault/api"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/builder"
)

const prometheusAddress = "127.0.0.1:19090"

// startPrometheus has a real Prometheus scrape the product's pods as the PodMonitor of config/prometheus would have it,
// only more often.
func startPrometheus(ctx context.Context) {
	GinkgoHelper()
	dir := GinkgoT().TempDir()
	type group struct {
		Targets []string          `json:"targets"`
		Labels  map[string]string `json:"labels"`
	}
	var targets []group
	for _, component := range []string{"controller", "node"} {
		for _, pod := range systemPods(ctx, component) {
			targets = append(targets, group{
				[]string{net.JoinHostPort(pod.Status.PodIP, "8080")}, map[string]string{"namespace": systemNamespace, "pod": pod.Name},
			})
		}
	}
	config, err := yaml.Marshal(map[string]any{
		"global": map[string]any{"scrape_interval": "2s", "scrape_timeout": "2s"},
		"scrape_configs": []any{
			map[string]any{"job_name": systemNamespace + "/sallyport", "honor_labels": true, "static_configs": targets},
		},
	})
	Expect(err).NotTo(HaveOccurred())
	file := filepath.Join(dir, "prometheus.yaml")
	Expect(os.WriteFile(file, config, 0o600)).To(Succeed())
	command := exec.CommandContext(context.WithoutCancel(ctx), setting("PROMETHEUS_BINARY"), "--config.file="+file,
		"--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+prometheusAddress, "--log.level=warn")
	command.Stdout, command.Stderr = GinkgoWriter, GinkgoWriter
	Expect(command.Start()).To(Succeed())
	DeferCleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
	})
}

// askPrometheus returns the series that Prometheus answers a question with.
func askPrometheus(ctx context.Context, question string, values url.Values) ([]any, error) {
	address := "http://" + prometheusAddress + "/api/v1/" + question + "?" + values.Encode()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return nil, err
	}
	response, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	var answer struct {
		Error string
		Data  struct{ Result []any }
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%d %s", response.StatusCode, answer.Error)
	}
	return answer.Data.Result, nil
}

// series is how many series a query returns.
func series(ctx context.Context, query string) (int, error) {
	found, err := askPrometheus(ctx, "query", url.Values{"query": {query}})
	return len(found), err
}

// pictured is how long the dashboard's picture is to show at least, by default as long as the spec takes.
func pictured() time.Duration {
	long, err := time.ParseDuration(cmp.Or(os.Getenv("SALLYPORT_PICTURE"), "0s"))
	Expect(err).NotTo(HaveOccurred(), "SALLYPORT_PICTURE")
	return long
}

// keepDashboard writes what the dashboard shows of the time since began to bin/dashboard.json, from which hack/diagrams.sh
// draws its picture: the series of each query, by the query.
func keepDashboard(ctx context.Context, began time.Time) {
	GinkgoHelper()
	// Whole steps, so that all series have the same.
	const step = 2 * time.Second
	from, until := began.Truncate(step), time.Now().Truncate(step)
	answers := map[string][]any{}
	for _, query := range slices.Collect(maps.Values(queriesOfDashboard())) {
		found, err := askPrometheus(ctx, "query_range", url.Values{
			"query": {strings.ReplaceAll(query, "[1m]", "[20s]")}, "step": {step.String()},
			"start": {fmt.Sprint(from.Unix())}, "end": {fmt.Sprint(until.Unix())},
		})
		Expect(err).NotTo(HaveOccurred())
		answers[query] = found
	}
	content, err := json.Marshal(map[string]any{
		"from": from.Unix(), "until": until.Unix(), "step": step.Seconds(), "answers": answers,
	})
	Expect(err).NotTo(HaveOccurred())
	Expect(os.MkdirAll(filepath.Join(paths.checkout, "bin"), 0o755)).To(Succeed())
	Expect(os.WriteFile(filepath.Join(paths.checkout, "bin", "dashboard.json"), content, 0o644)).To(Succeed())
}

// firing are the alerts whose faults the spec makes: their whole expressions return series. Of the others all that is
// compared does.
var firing = []string{
	"SallyportVaultConfigNotReady", "SallyportTokenExpires", "SallyportConnectionNotReady", "SallyportVaultTaskFailed",
	"SallyportVolumesStale", "SallyportPodsWait",
}

// comparison is what makes an alert of a query, and exception what stands between one and when it is none.
var (
	comparison = regexp.MustCompile(` (==|<|>) [0-9.]+`)
	exception  = regexp.MustCompile(` unless on \([a-z, ]*\) `)
)

// queriesOfAlerts returns the expressions of config/prometheus by alert.
func queriesOfAlerts() map[string]string {
	GinkgoHelper()
	content, err := os.ReadFile(filepath.Join(paths.checkout, "config/prometheus/prometheusrule.yaml"))
	Expect(err).NotTo(HaveOccurred())
	var object struct {
		Spec struct {
			Groups []struct {
				Rules []struct{ Alert, Expr string }
			}
		}
	}
	Expect(yaml.Unmarshal(content, &object)).To(Succeed())
	queries := map[string]string{}
	for _, rule := range object.Spec.Groups[0].Rules {
		switch {
		case slices.Contains(firing, rule.Alert):
			queries[rule.Alert] = rule.Expr
		case strings.HasPrefix(rule.Expr, "absent("):
			queries[rule.Alert] = strings.TrimSuffix(strings.TrimPrefix(rule.Expr, "absent("), ")")
		default:
			for i, part := range exception.Split(rule.Expr, -1) {
				queries[fmt.Sprint(rule.Alert, " ", i)] = comparison.ReplaceAllString(part, "")
			}
		}
	}
	return queries
}

// queriesOfDashboard returns the queries of config/grafana by panel, with what Grafana puts into them.
func queriesOfDashboard() map[string]string {
	GinkgoHelper()
	content, err := os.ReadFile(filepath.Join(paths.checkout, "config/grafana/dashboard.json"))
	Expect(err).NotTo(HaveOccurred())
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ RefID, Expr string }
		}
	}
	Expect(json.Unmarshal(content, &dashboard)).To(Succeed())
	queries := map[string]string{}
	for _, panel := range dashboard.Panels {
		for _, target := range panel.Targets {
			name := fmt.Sprintf("%s (%s)", panel.Title, target.Expr)
			queries[name] = strings.NewReplacer("$__rate_interval", "1m", "$namespace", ".*").Replace(target.Expr)
		}
	}
	return queries
}

var _ = Describe("A real Prometheus that scrapes the installation", Ordered, Serial, func() {
	It("has series for every query of alerts and dashboard while things go wrong", func(ctx SpecContext) {
		expectProductReady(ctx)
		t := newReadyTenant(ctx)
		d := newDatabase(ctx, t)
		Expect(vault.Sys().PutPolicyWithContext(ctx, t.namespace, fmt.Sprintf(`
			path "%[1]s/data/%[2]s/*" { capabilities = ["read"] }
			path "%[1]s/metadata/%[2]s/*" { capabilities = ["read"] }
			path "%[3]s/creds/*" { capabilities = ["read"] }
			path "sys/leases/revoke" { capabilities = ["update"] }`, engine, t.namespace, d.engine))).To(Succeed())
		startPrometheus(ctx)
		began := time.Now()

		By("having pods that are well, one of them with a lease, which goes away")
		t.put(ctx, "db", map[string]any{"password": newSecret("password")})
		create(ctx, t.connection("db", map[string]any{"password": "vault.secret(password)"}, t.secretAt("db")))
		pod, leased := t.start(ctx, "db"), t.start(ctx, "brief")
		expectRuns(ctx, pod, eventual)
		expectRuns(ctx, leased, eventual)
		Expect(d.login(leased.Name, inPod(leased, mountPath))).To(Succeed())
		remove(ctx, leased)

		By("having a VaultConfig with a token that is revoked, and one with a token that ends")
		revoked := t.newToken(ctx, nil)
		Expect(vault.Auth().Token().RevokeTreeWithContext(ctx, revoked)).To(Succeed())
		t.keepToken(ctx, "revoked", revoked)
		t.keepToken(ctx, "ending", t.newToken(ctx, func(r *vaultapi.TokenCreateRequest) { r.Renewable = new(false) }))
		for _, name := range []string{"revoked", "ending"} {
			config := t.vaultConfig(name)
			builder.WithTokenSecret(name)(config)
			create(ctx, config)
		}
		By("having a Connection to what does not exist, a pod that mounts it, and a VaultTask that fails")
		create(ctx, t.connection("missing", map[string]any{"password": "vault.secret(password)"}, t.secretAt("missing")))
		waiting := t.start(ctx, "missing")
		task := builder.VaultTask(t.namespace, "fails", v1alpha1.OperationRead, t.namespace+"/missing")
		task.Spec.BackoffLimit = new(int32(0))
		create(ctx, task)
		By("taking away what a running pod has")
		Expect(vault.KVv2(engine).DeleteMetadata(ctx, t.namespace+"/db")).To(Succeed())
		By("asking a resolver as nobody")
		replica := systemPods(ctx, "controller")[0]
		Expect(resolve(ctx, &replica, request{attributes: attributes(pod)})).Error().To(HaveOccurred())

		missing := queriesOfAlerts()
		maps.Copy(missing, queriesOfDashboard())
		Expect(len(missing)).To(BeNumerically(">", 45))
		Eventually(ctx, func(g Gomega) map[string]string {
			for name, query := range missing {
				found, err := series(ctx, query)
				g.Expect(err).NotTo(HaveOccurred(), query)
				if found > 0 {
					delete(missing, name)
				}
			}
			return missing
		}).WithTimeout(eventual).WithPolling(time.Second).Should(BeEmpty(), "queries without series")
		Expect(series(ctx, queryOfNotRunning)).To(BeZero(), "a controller leads")
		Expect(waiting.Status.Phase).NotTo(Equal(corev1.PodRunning))
		for time.Since(began) < pictured() {
			t.put(ctx, "db", map[string]any{"password": newSecret("password")})
			expectRuns(ctx, t.start(ctx, "db"), eventual)
			leased := t.start(ctx, "brief")
			expectRuns(ctx, leased, eventual)
			remove(ctx, leased)
		}
		keepDashboard(ctx, began)
	}, SpecTimeout(atLast+pictured()))
})

// queryOfNotRunning is that of the alert that is there when nothing is.
const queryOfNotRunning = `absent(sallyport_objects{kind="VaultConfig"})`
