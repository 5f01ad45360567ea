package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"sallyport.dev/sallyport/internal/node/mount"
	resolverv1 "sallyport.dev/sallyport/internal/resolver/api/v1"
)

// fakeMounter shows with ordinary files what a mount table would show: a tmpfs is the directory itself, which loses its
// content when unmounted, and a bind mount is a link in place of the target.
type fakeMounter struct {
	mu      sync.Mutex
	tmpfs   map[string]mount.TmpfsOptions
	binds   map[string]string
	busy    map[string]bool
	private bool
}

func newFakeMounter() *fakeMounter {
	return &fakeMounter{tmpfs: map[string]mount.TmpfsOptions{}, binds: map[string]string{}, busy: map[string]bool{}}
}

func (m *fakeMounter) Tmpfs(path string, options mount.TmpfsOptions) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if entries, err := os.ReadDir(path); err != nil || len(entries) > 0 {
		return fmt.Errorf("%s must be an empty directory: %d entries, %w", path, len(entries), err)
	}
	m.tmpfs[path] = options
	return nil
}

func (m *fakeMounter) BindReadOnly(source, staging, target string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, dir := range []string{source, staging, target} {
		if info, err := os.Lstat(dir); err != nil || !info.IsDir() {
			return fmt.Errorf("%s must be a directory: %w", dir, err)
		}
	}
	if err := os.Remove(target); err != nil {
		return err
	}
	m.binds[target] = source
	return os.Symlink(source, target)
}

func (m *fakeMounter) Unmount(path string, lazy bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.busy[path] && !lazy {
		return &os.PathError{Op: "unmount", Path: path, Err: errors.New("device or resource busy")}
	}
	return m.drop(path)
}

func (m *fakeMounter) drop(path string) error {
	if _, ok := m.binds[path]; ok {
		delete(m.binds, path)
		return errors.Join(os.Remove(path), os.Mkdir(path, 0o750))
	}
	if _, ok := m.tmpfs[path]; !ok {
		return nil
	}
	delete(m.tmpfs, path)
	entries, err := os.ReadDir(path)
	for _, entry := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(path, entry.Name())))
	}
	return err
}

func (m *fakeMounter) Mounted(path string) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, tmpfs := m.tmpfs[path]
	_, bind := m.binds[path]
	return tmpfs || bind, nil
}

func (m *fakeMounter) Shared(string) (bool, error) { return !m.private, nil }

// reboot takes all mounts away, as a restart of the machine does.
func (m *fakeMounter) reboot() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for path := range m.binds {
		_ = m.drop(path)
	}
	for path := range m.tmpfs {
		_ = m.drop(path)
	}
}

// count returns the number of mounts, without the plugin's own.
func (m *fakeMounter) count(own string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	count := len(m.tmpfs) + len(m.binds)
	if _, mounted := m.tmpfs[own]; mounted {
		count--
	}
	return count
}

// fakeResolver answers as the test says, by the name of the Connection.
type fakeResolver struct {
	mu           sync.Mutex
	content      map[string]map[string]string
	revision     int
	resolveError error
	refresh      int64
	blocked      chan struct{}
	response     *resolverv1.ResolveResponse
	received     []*resolverv1.ResolveRequest
	// together counts those that may travel with others.
	together int
	// Requests for which hanging holds are not answered before their time is up, or hangs is closed.
	hanging func(*resolverv1.ResolveRequest) bool
	hangs   chan struct{}

	// ignoresCancel has a blocked request answered although its caller has given up.
	ignoresCancel bool
	// issuesLeases has new files come with a lease of their own, and revokeError is why none can be revoked.
	issuesLeases bool
	issued       []string
	revoked      []string
	revokeError  error
	// grant is what responses hand to the node.
	grant []byte
	// kept are files that stay as they are where a volume has a revision.
	kept []string
}

func (r *fakeResolver) Resolve(ctx context.Context, request *resolverv1.ResolveRequest) (*resolverv1.ResolveResponse, error) {
	r.mu.Lock()
	r.received = append(r.received, request)
	blocked, hanging := r.blocked, r.hanging
	if hanging != nil {
		blocked = r.hangs
	}
	if r.ignoresCancel {
		ctx = context.WithoutCancel(ctx)
	}
	r.mu.Unlock()
	if blocked != nil || hanging != nil {
		if hanging != nil && !hanging(request) {
			blocked = closed
		}
		select {
		case <-blocked:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.resolveError != nil {
		return nil, r.resolveError
	}
	if r.response != nil {
		return r.response, nil
	}
	response := &resolverv1.ResolveResponse{Revision: fmt.Sprintf("r%d", r.revision), RefreshAfterMs: r.refresh, ChangeKeys: []string{"topic"}}
	response.Leases, response.Grant = request.GetLeases(), r.grant
	if request.GetRevision() == response.GetRevision() {
		response.Unchanged = true
		return response, nil
	}
	if r.issuesLeases {
		// In the clear, so that tests see what is in it. What the volume had stays with it.
		r.issued = append(r.issued, fmt.Sprintf("%s-%d;", secretLease, len(r.issued)+1))
		response.Leases = append(slices.Clone(response.Leases), r.issued[len(r.issued)-1]...)
	}
	for name, content := range r.content[request.GetVolumeAttributes()["connection"]] {
		response.Files = append(response.Files, &resolverv1.File{Path: name, Content: []byte(content)})
	}
	if request.GetRevision() != "" && request.GetKeepsFiles() {
		for _, name := range r.kept {
			response.Files = append(response.Files, &resolverv1.File{Path: name, Kept: true})
		}
	}
	return response, nil
}

// ResolveTogether implements Resolver.
func (r *fakeResolver) ResolveTogether(ctx context.Context, request *resolverv1.ResolveRequest) (*resolverv1.ResolveResponse, error) {
	r.mu.Lock()
	r.together++
	r.mu.Unlock()
	return r.Resolve(ctx, request)
}

// Release implements Resolver.
func (r *fakeResolver) Release(_ context.Context, request *resolverv1.ReleaseRequest) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.revokeError != nil {
		return r.revokeError
	}
	r.revoked = append(r.revoked, string(request.GetLeases()))
	return nil
}

var closed = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

// setHanging has the requests for which hanging holds not answered until hangs is closed; nil ends it.
func (r *fakeResolver) setHanging(hanging func(*resolverv1.ResolveRequest) bool, hangs chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hanging, r.hangs = hanging, hangs
}

// setRevokeError sets what every revocation fails with; nil ends it.
func (r *fakeResolver) setRevokeError(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.revokeError = err
}

// leases returns all that were ever made, and what was revoked, in one text.
func (r *fakeResolver) leases() (issued []string, revoked string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.issued), strings.Join(r.revoked, "")
}

// fakeChanges hands on what a test notes.
type fakeChanges struct{ topics chan []string }

func (c *fakeChanges) Changes(ctx context.Context, request *resolverv1.ChangesRequest) (*resolverv1.ChangesResponse, error) {
	select {
	case topics := <-c.topics:
		return &resolverv1.ChangesResponse{Cursor: request.GetAfter() + "+", ChangeKeys: topics}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// set changes what the Connection "db" holds.
func (r *fakeResolver) setFiles(files map[string]string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.content = map[string]map[string]string{"db": files}
	r.revision++
}

// setKept names the files that stay as they are.
func (r *fakeResolver) setKept(names ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.kept = names
}

// setGrant sets the grant of the next responses.
func (r *fakeResolver) setGrant(grant string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.grant = []byte(grant)
}

func (r *fakeResolver) failWith(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.resolveError = err
}

// block makes the resolver wait until the returned function is called.
func (r *fakeResolver) block() (unblock func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	blocked := make(chan struct{})
	r.blocked = blocked
	return sync.OnceFunc(func() {
		r.mu.Lock()
		r.blocked = nil
		r.mu.Unlock()
		close(blocked)
	})
}

func (r *fakeResolver) requests() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.received)
}

func (r *fakeResolver) lastRequest() *resolverv1.ResolveRequest {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.received[len(r.received)-1]
}

// syncedText collects log lines.
type syncedText struct {
	mu   sync.Mutex
	text strings.Builder
}

func (s *syncedText) add(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text.WriteString(line + "\n")
}

func (s *syncedText) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}
