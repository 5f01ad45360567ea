package isolation

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/builder"
)

func manyTasks(t *Tenant) (Proof, error) {
	s, err := t.serveAs(nil)
	if err != nil {
		return nil, err
	}
	return atLeast(20, "writes", func() int { return s.count("secret/data/") }),
		t.createMany(1000, func(i int) client.Object { return t.writes(fmt.Sprintf("task-%d", i), fmt.Sprintf("x/%d", i)) })
}

// largeTasks write as much as a VaultTask may hold of it. What is larger than that is refused by the API server.
func largeTasks(t *Tenant) (Proof, error) {
	var large atomic.Int64
	_, err := t.serveAs(func(_ http.ResponseWriter, r *http.Request, path string) bool {
		if isData(path) && r.ContentLength > largeData {
			large.Add(1)
		}
		return false
	})
	if err != nil {
		return nil, err
	}
	task := func(name string, size int) *v1alpha1.VaultTask {
		data := map[string]v1alpha1.TaskValue{}
		for left := size; left > 0; left -= largeData {
			data[fmt.Sprint("value-", left)] = v1alpha1.TaskValue(strings.Repeat("x", largeData))
		}
		made := t.writes(name, "x/"+name)
		made.Spec.Data = data
		return made
	}
	// The policy's limit, and what the API server reads of a request at all.
	for _, size := range []int{900_000, 3 << 20} {
		if err := t.create(task("too-large", size)); !apierrors.IsRequestEntityTooLargeError(err) {
			return nil, fmt.Errorf("a VaultTask of %d bytes is not refused as too large: %w", size, err)
		}
	}
	number := heavier(100, 1000)
	return atLeast(20, "writes of 300 kB", func() int { return int(large.Load()) }),
		t.createMany(number, func(i int) client.Object { return task(fmt.Sprintf("task-%d", i), largeData) })
}

// largeData is what a VaultTask writes that is large.
const largeData = 300_000

// edit changes an object again and again, some at a time, and counts.
func (t *Tenant) edit(count *atomic.Int64, number int, get func(i int) client.Object, change func(client.Object, int)) {
	for worker := range 4 {
		t.loop(func(ctx context.Context, turn int) {
			object := get((turn*4 + worker) % number)
			before, _ := object.DeepCopyObject().(client.Object)
			change(object, turn)
			if t.Client.Patch(ctx, object, client.MergeFrom(before)) == nil {
				count.Add(1)
			}
		})
	}
}

func editedConnections(t *Tenant) (Proof, error) {
	s, err := t.serveAs(nil)
	if err != nil {
		return nil, err
	}
	name := func(i int) string { return fmt.Sprintf("connection-%d", i) }
	number := heavier(400, 1000)
	if err := t.createMany(number, func(i int) client.Object { return t.connection(name(i), fmt.Sprintf("x/%d", i)) }); err != nil {
		return nil, err
	}
	var edits atomic.Int64
	t.edit(&edits, number, func(i int) client.Object { return t.connection(name(i), fmt.Sprintf("x/%d", i)) }, func(o client.Object, turn int) {
		if c, ok := o.(*v1alpha1.Connection); ok {
			c.Spec.Value = builder.JSON(map[string]any{"value": fmt.Sprintf("%d vault.secret(value)", turn)})
		}
	})
	return both(atLeast(100, "edits", func() int { return int(edits.Load()) }),
		atLeast(20, "reads", func() int { return s.count("secret/data/") })), nil
}

// editedConfigs log in anew at every edit.
func editedConfigs(t *Tenant) (Proof, error) {
	s, err := t.serve(nil)
	if err != nil {
		return nil, err
	}
	const number = 100
	name := func(i int) string { return fmt.Sprintf("config-%d", i) }
	if err := t.createMany(number, func(i int) client.Object { return t.newConfig(name(i), s.url) }); err != nil {
		return nil, err
	}
	var edits atomic.Int64
	t.edit(&edits, number, func(i int) client.Object { return t.newConfig(name(i), s.url) }, func(o client.Object, turn int) {
		if c, ok := o.(*v1alpha1.VaultConfig); ok {
			c.Spec.VaultNamespace = fmt.Sprintf("team-%d", turn)
		}
	})
	return both(atLeast(100, "edits", func() int { return int(edits.Load()) }),
		atLeast(20, "logins", func() int { return s.count("auth/token/lookup-self") })), nil
}

// samePaths have the results of VaultTasks name the path of the victim's secret, which lies in another Vault.
func samePaths(t *Tenant) (Proof, error) {
	s, err := t.serveAs(func(w http.ResponseWriter, r *http.Request, path string) bool {
		if r.Method == http.MethodGet || !isData(path) {
			return false
		}
		respond(w, answered(version))
		return true
	})
	if err != nil {
		return nil, err
	}
	t.loop(func(ctx context.Context, turn int) {
		_ = t.Client.Create(ctx, t.writes(fmt.Sprintf("task-%d", turn), "victim/rotated"))
		sleep(ctx, pause)
	})
	const read = "GET secret/data/victim/rotated"
	before, started := t.sharedReads(read), time.Now()
	written := atLeast(8, "writes of the victim's path", func() int { return s.count("secret/data/victim/rotated") })
	return both(written, func() (string, error) {
		// One for each interval and replica, and one more for each rotation that the measurement itself makes.
		reads, most := t.sharedReads(read)-before, 4*(2+int(time.Since(started)/refreshInterval))
		text := fmt.Sprintf("%d reads of the victim's secret", reads)
		if reads > most {
			return text, fmt.Errorf("%s, more than %d: another's tasks have it read", text, most)
		}
		return text, nil
	}), nil
}

// oracle asks by edits whether a secret begins with this or that, and listens to what the status says.
func oracle(t *Tenant) (Proof, error) {
	const password = "tiger"
	s, err := t.serveAs(func(w http.ResponseWriter, _ *http.Request, path string) bool {
		if isData(path) {
			respond(w, secret(object{"value": password}))
		}
		return isData(path)
	})
	if err != nil {
		return nil, err
	}
	// Each of them fails, or takes long, or makes much, if the guess is right.
	templates := []string{
		`{{if hasPrefix %q .value}}{{fail "yes"}}{{end}}`, "{{if hasPrefix %q .value}}\n\n{{.nothing}}{{end}}",
		`{{if eq (printf "%%.1s" .value) %q}}{{index .value 99}}{{end}}`, `{{if eq (slice .value 0 1) %q}}{{slice .value 0 99}}{{end}}`,
	}
	right := func(i int) bool { return i%2 == 0 }
	err = t.createMany(2*len(templates), func(i int) client.Object {
		guess := "t"
		if !right(i) {
			guess = "x"
		}
		return t.connection(fmt.Sprintf("guess-%d", i), "password", builder.WithFiles(
			v1alpha1.ConnectionFile{Path: "f", Template: fmt.Sprintf(templates[i/2], guess)}))
	})
	return both(atLeast(1, "reads of a secret", func() int { return s.count("secret/data/") }), func() (string, error) {
		list := &v1alpha1.ConnectionList{}
		if err := t.s.Client.List(t.ctx, list, client.InNamespace(t.Namespace)); err != nil {
			return "", err
		}
		said := map[string]string{}
		for i := range list.Items {
			for _, condition := range list.Items[i].Status.Conditions {
				message := strings.ReplaceAll(condition.Message, list.Items[i].Name, "NAME")
				said[list.Items[i].Name] += fmt.Sprintf("%s %s %s %s\n", condition.Type, condition.Status, condition.Reason, message)
			}
		}
		for i := 0; i < 2*len(templates); i += 2 {
			yes, no := said[fmt.Sprintf("guess-%d", i)], said[fmt.Sprintf("guess-%d", i+1)]
			if yes == "" || yes != no {
				return "", fmt.Errorf("a guess shows in status: %q, and where it is wrong: %q", yes, no)
			}
		}
		return fmt.Sprintf("%d guesses", len(said)), nil
	}), err
}
