package isolation

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/builder"
	"sallyport.dev/sallyport/test/env"
)

// writes is a VaultTask that writes a secret at a path.
func (t *Tenant) writes(name, path string) *v1alpha1.VaultTask {
	return builder.VaultTask(t.Namespace, name, v1alpha1.OperationWrite, path, builder.WithData(map[string]v1alpha1.TaskValue{"value": "x"}))
}

// manyOf makes Connections and VaultTasks for the VaultConfig "main", and more VaultConfigs for the same server.
func (t *Tenant) manyOf(number int, s *server) error {
	err := t.createMany(number, func(i int) client.Object { return t.writes(fmt.Sprintf("task-%d", i), fmt.Sprintf("x/%d", i)) })
	if err == nil {
		err = t.createMany(number, func(i int) client.Object {
			return t.connection(fmt.Sprintf("connection-%d", i), fmt.Sprintf("x/%d", i))
		})
	}
	if err == nil {
		err = t.createMany(number, func(i int) client.Object { return t.newConfig(fmt.Sprintf("config-%d", i), s.url) })
	}
	return err
}

// hangs answers what a login needs, and then nothing.
func hangs(s **server) answer {
	return func(_ http.ResponseWriter, r *http.Request, path string) bool {
		if path == "sys/health" || strings.HasPrefix(path, "auth/token/") {
			return false
		}
		(*s).hang(r.Context())
		return true
	}
}

func hangingTasks(t *Tenant) (Proof, error) {
	var s *server
	s, err := t.serveAs(hangs(&s))
	if err != nil {
		return nil, err
	}
	return atLeast(1, "requests hung", func() int { return s.count("secret/") + s.count("sys/internal/") }),
		t.createMany(100, func(i int) client.Object { return t.writes(fmt.Sprintf("task-%d", i), fmt.Sprintf("x/%d", i)) })
}

func hangingConfigs(t *Tenant) (Proof, error) {
	var s *server
	s, err := t.serve(func(_ http.ResponseWriter, r *http.Request, path string) bool {
		if path == "sys/health" {
			return false
		}
		s.hang(r.Context())
		return true
	})
	if err != nil {
		return nil, err
	}
	return atLeast(1, "requests hung", func() int { return s.count("auth/") }),
		t.createMany(100, func(i int) client.Object { return t.newConfig(fmt.Sprintf("config-%d", i), s.url) })
}

// hangingVaults are as many as there are VaultConfigs, so that no look at one of them serves for another.
func hangingVaults(t *Tenant) (Proof, error) {
	servers := make([]*server, 100)
	for i := range servers {
		s, err := t.serve(nil)
		if err != nil {
			return nil, err
		}
		s.answer = func(_ http.ResponseWriter, r *http.Request, _ string) bool {
			s.hang(r.Context())
			return true
		}
		servers[i] = s
	}
	hung := func() (count int) {
		for _, s := range servers {
			count += min(s.count("sys/health"), 1)
		}
		return count
	}
	return atLeast(len(servers), "Vaults hung", hung),
		t.createMany(len(servers), func(i int) client.Object { return t.newConfig(fmt.Sprintf("config-%d", i), servers[i].url) })
}

// hangingEngine is one whose backend does not answer, such as that of a database that is down, in the Vault that the
// victim uses, too.
func hangingEngine(t *Tenant) (Proof, error) {
	t.s.Vault.Mount("slow", "kv")
	t.s.Proxy.Inject(env.Fault{Path: "slow/", Hang: true})
	t.onStop(func() {
		t.s.Proxy.Heal()
		t.s.Vault.Unmount("slow")
	})
	hung := func() int {
		return t.sharedReads("GET slow/") + t.sharedReads("PUT slow/") + t.sharedReads("POST slow/")
	}
	return atLeast(1, "requests hung", hung), t.shared(func() error {
		err := t.createMany(50, func(i int) client.Object {
			return t.connection(fmt.Sprintf("connection-%d", i), fmt.Sprintf("x/%d", i), func(c *v1alpha1.Connection) {
				c.Spec.VaultSecrets[0].EnginePath = "slow"
			})
		})
		if err != nil {
			return err
		}
		return t.createMany(50, func(i int) client.Object {
			task := t.writes(fmt.Sprintf("task-%d", i), fmt.Sprintf("x/%d", i))
			task.Spec.EnginePath = "slow"
			return task
		})
	})
}

func slowAnswers(t *Tenant) (Proof, error) {
	var s *server
	s, err := t.serveAs(func(w http.ResponseWriter, r *http.Request, path string) bool {
		if path == "sys/health" || path == "auth/token/lookup-self" {
			return false
		}
		w.WriteHeader(http.StatusOK)
		for r.Context().Err() == nil {
			if _, err := w.Write([]byte(" ")); err != nil || http.NewResponseController(w).Flush() != nil {
				return true
			}
			select {
			case <-s.closed:
				return true
			case <-time.After(time.Second):
			}
		}
		return true
	})
	if err != nil {
		return nil, err
	}
	return atLeast(1, "answers trickled", func() int { return s.count("secret/") + s.count("sys/internal/") }), t.manyOf(40, s)
}

func redirects(t *Tenant) (Proof, error) {
	s, err := t.serveAs(func(w http.ResponseWriter, r *http.Request, path string) bool {
		if path == "sys/health" {
			return false
		}
		http.Redirect(w, r, "/v1/"+path+"x", http.StatusTemporaryRedirect)
		return true
	})
	if err != nil {
		return nil, err
	}
	return atLeast(10, "redirects", func() int { return s.count("") - s.count("sys/health") }), t.manyOf(40, s)
}

func resets(t *Tenant) (Proof, error) {
	s, err := t.serveAs(func(w http.ResponseWriter, _ *http.Request, path string) bool {
		if path == "sys/health" {
			return false
		}
		if connection, _, err := http.NewResponseController(w).Hijack(); err == nil {
			if plain, ok := connection.(interface{ NetConn() net.Conn }); ok {
				if tcp, ok := plain.NetConn().(*net.TCPConn); ok {
					_ = tcp.SetLinger(0)
					_ = tcp.Close()
				}
			}
			_ = connection.Close()
		} else {
			panic(http.ErrAbortHandler) // HTTP/2 has no connection to hand out, but streams that are reset
		}
		return true
	})
	if err != nil {
		return nil, err
	}
	return atLeast(10, "connections were reset", func() int { return s.count("") - s.count("sys/health") }), t.manyOf(40, s)
}

// hangingRevocations are owed to a Vault that takes none.
func hangingRevocations(t *Tenant) (Proof, error) {
	var s *server
	s, err := t.serveAs(func(w http.ResponseWriter, r *http.Request, path string) bool {
		switch {
		case strings.HasPrefix(path, "sys/internal/ui/mounts"):
			respond(w, answered(object{"path": "database/", "type": "database"}))
		case strings.HasPrefix(path, "database/creds/"):
			respond(w, object{
				"request_id": requestID, "lease_id": fmt.Sprintf("%s/%d", path, s.count("database/")), "lease_duration": 3600,
				"renewable": true, "data": object{"value": "x"},
			})
		case strings.HasPrefix(path, "sys/leases/"):
			s.hang(r.Context())
		default:
			return false
		}
		return true
	})
	if err != nil {
		return nil, err
	}
	connection := t.connection("leased", "creds/x", func(c *v1alpha1.Connection) { c.Spec.VaultSecrets[0].EnginePath = "database" })
	if err := t.create(connection); err != nil {
		return nil, err
	}
	for i := range heavier(5, 20) {
		requests, err := t.newPod(fmt.Sprintf("leased-%d", i), repeat("leased", 10)...)
		if err != nil {
			return nil, err
		}
		for _, request := range requests {
			t.loops.Go(func() {
				if t.s.Kubelet.Mount(t.ctx, request) == nil {
					_ = t.s.Kubelet.Unmount(t.ctx, request)
				}
			})
		}
	}
	return both(atLeast(10, "leases", func() int { return s.count("database/creds") }),
		atLeast(1, "revocations hung", func() int { return s.count("sys/leases/revoke") })), nil
}

func repeat(name string, number int) []string {
	names := make([]string, number)
	for i := range names {
		names[i] = name
	}
	return names
}
