package isolation

import (
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// server is what a hostile tenant calls a Vault: it answers like one, until a row of the matrix does something else.
type server struct {
	url string

	http   *http.Server
	closed chan struct{}

	mu     sync.Mutex
	counts map[string]int
	answer answer
}

// answer handles a request for a path without /v1/, or returns false to have it answered as Vault would.
type answer func(w http.ResponseWriter, r *http.Request, path string) bool

// serve starts a server of the tenant's. It ends with the attack.
func (t *Tenant) serve(answer answer) (*server, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	certificate, err := t.s.Vault.ServerTLS()
	if err != nil {
		return nil, err
	}
	s := &server{url: "https://" + listener.Addr().String(), closed: make(chan struct{}), counts: map[string]int{}, answer: answer}
	s.http = &http.Server{
		Handler: s, TLSConfig: certificate, ReadHeaderTimeout: time.Minute,
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
	}
	go func() { _ = s.http.ServeTLS(listener, "", "") }()
	t.servers = append(t.servers, s)
	return s, nil
}

// serveAs starts a server and makes the VaultConfig "main" for it.
func (t *Tenant) serveAs(answer answer) (*server, error) {
	s, err := t.serve(answer)
	if err != nil {
		return nil, err
	}
	return s, t.config(s)
}

func (s *server) close() {
	close(s.closed)
	_ = s.http.Close()
}

// hang answers nothing until the client gives up.
func (s *server) hang(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-s.closed:
	}
}

// count is how many requests came for paths that begin so.
func (s *server) count(prefix string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	sum := 0
	for path, count := range s.counts {
		if strings.HasPrefix(path, prefix) {
			sum += count
		}
	}
	return sum
}

// ServeHTTP counts and answers.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, "/v1/")
	s.mu.Lock()
	s.counts[path]++
	s.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	if s.answer != nil && s.answer(w, r, path) {
		return
	}
	respond(w, usual(path))
}

// object is one of JSON.
type object = map[string]any

func respond(w http.ResponseWriter, body any) {
	_ = json.NewEncoder(w).Encode(body)
}

// usual is what Vault says of itself, of a token, of its engines, and of every secret.
func usual(path string) object {
	token := object{
		"ttl": 3600, "creation_ttl": 3600, "renewable": true, "policies": []string{"default"}, "path": "auth/token/create",
		"type": "service", "num_uses": 0, "orphan": true, "period": 0, "explicit_max_ttl": 0, "display_name": "token", "entity_id": "",
	}
	switch {
	case path == "sys/health":
		return object{"initialized": true, "sealed": false, "standby": false, "version": "1.21.1", "cluster_name": "hostile"}
	case path == "auth/token/lookup-self":
		return answered(token)
	case path == "auth/token/renew-self":
		return object{"request_id": requestID, "auth": object{
			"client_token": "hostile", "accessor": "a", "lease_duration": 3600, "renewable": true, "policies": []string{"default"}, "token_type": "service",
		}}
	case strings.HasPrefix(path, "sys/internal/ui/mounts"):
		return answered(object{"path": "secret/", "type": "kv", "options": object{"version": "2"}})
	case strings.HasPrefix(path, "secret/metadata/"):
		return answered(object{"current_version": 1, "oldest_version": 1, "versions": object{"1": version}})
	default:
		return secret(object{"value": "x"})
	}
}

const requestID = "00000000-0000-0000-0000-000000000000"

var version = object{"version": 1, "created_time": "2026-01-01T00:00:00Z", "deletion_time": "", "destroyed": false}

func answered(data object) object { return object{"request_id": requestID, "data": data} }

// secret is what an engine of KV version 2 answers.
func secret(data any) object { return answered(object{"data": data, "metadata": version}) }
