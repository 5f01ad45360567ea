package resolver

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/utils/clock"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/vault/auth"
	"sallyport.dev/sallyport/internal/vault/secrets"
)

const (
	// readTimeout bounds one shared read; it outlives the caller who happened to start it.
	readTimeout = 15 * time.Second
	// parallelReads bounds the requests that one Connection sends to Vault at a time.
	parallelReads = 8
	// failureMemory is how long refreshing volumes share a failure, so that a Vault which is down gets one request per secret
	// and not one per volume. Mounts never see a remembered failure.
	failureMemory = 2 * time.Second
	// roundMemory is how long a secret that nobody asks for is remembered.
	roundMemory = time.Hour
	// roundSlack lets a volume that comes a moment early join the round that is due.
	roundSlack = 50 * time.Millisecond
)

// answer is one read of a secret, shared by all who asked while it was under way.
type answer struct {
	secret *secrets.Secret
	marker string
}

// readSource reads a secret from Vault, sharing the answer with everybody who asks while the request is under way, and for volumes with those that
// are being served with them; see answers. The round remembers when it was read and which version it had.
func (e *Engine) readSource(ctx context.Context, s *source, forVolume bool) {
	read := e.rounds.begin(s.key, s.path)
	if forVolume {
		if got, ok := e.answers.recall(read); ok {
			s.secret, s.marker = got.secret, got.marker
			return
		}
	}
	result := e.reads.DoChan(read, func() (any, error) {
		// Detached, because the caller who starts the read may leave while others still wait for it.
		shared, cancel := context.WithTimeout(context.WithoutCancel(ctx), readTimeout)
		defer cancel()
		started := e.clock.Now()
		secret, err := secrets.Read(shared, s.session, s.location)
		if err != nil {
			e.rounds.failed(s.key, err)
			return nil, err
		}
		got := answer{secret: secret, marker: e.rounds.seen(s.key, secret, started)}
		e.answers.keep(read, s.path, got, started)
		return got, nil
	})
	select {
	case <-ctx.Done():
		s.err = ctx.Err()
	case shared := <-result:
		if secrets.MadeLease(shared.Err) {
			s.perVolume, s.marker = true, ""
			return
		}
		if s.err = shared.Err; s.err == nil {
			if got, ok := shared.Val.(answer); ok {
				s.secret, s.marker = got.secret, got.marker
			}
		}
	}
}

// open gives every source its session and its canonical path, and refuses what the VaultConfig does not let the namespace have.
func (e *Engine) open(ctx context.Context, p *plan, workload *auth.Workload) {
	each(p.sources, func(s *source) {
		if s.err != nil || s.deferred {
			return
		}
		if s.session, s.err = e.sessions.ForWorkload(ctx, s.config, workload); s.err != nil {
			return
		}
		if s.path, s.err = e.permitted(ctx, p.namespace, s); s.err != nil {
			return
		}
		if s.perVolume, s.err = secrets.IsDynamic(ctx, s.session, s.location); s.err != nil {
			return
		}
		// What one identity may read is no answer for another, and neither is what is read as another KV version than the engine has.
		s.key = fmt.Sprintf("%s/%d %s %s?version=%d", s.config.UID, s.config.Generation, s.session.Subject(), s.path, s.location.Version)
		if s.location.KVVersion == v1alpha1.KVVersion1 {
			s.key += "&kv=1"
		}
	})
}

// poll learns the marker of every source, from memory where a read of the current round has been seen. A source that it had to
// read keeps the secret for the rest of the request.
func (e *Engine) poll(ctx context.Context, p *plan, interval time.Duration) {
	each(p.sources, func(s *source) {
		if s.err != nil || s.absent() {
			return
		}
		var fresh bool
		if s.marker, fresh, s.err = e.rounds.recall(s.key, interval); fresh {
			if secrets.MadeLease(s.err) {
				s.perVolume, s.marker, s.err = true, "", nil
			}
			return
		}
		e.readSource(ctx, s, p.forVolume)
	})
}

// read reads every source that the request does not hold already. One that turns out to be made for each reader is left to issue.
func (e *Engine) read(ctx context.Context, p *plan) {
	each(p.sources, func(s *source) {
		if s.err == nil && s.secret == nil && !s.absent() {
			e.readSource(ctx, s, p.forVolume)
		}
	})
}

func each(sources []*source, do func(*source)) {
	if len(sources) == 1 {
		do(sources[0])
		return
	}
	var group errgroup.Group
	group.SetLimit(parallelReads)
	for _, s := range sources {
		group.Go(func() error {
			do(s)
			return nil
		})
	}
	_ = group.Wait()
}

// rounds remembers, per distinct secret, when it was last read and which version it had, so that one read per refresh
// interval serves every volume that mounts it. Every volume is told to come back when the current round ends; the first to come
// reads, the others find the round done. It keeps no value: of a secret without versions it keeps a keyed digest, whose key
// is made at start and never leaves memory, to see that it changed.
type rounds struct {
	clock    clock.PassiveClock
	instance string
	key      []byte

	mu       sync.Mutex
	sequence int
	entries  map[string]*round
	swept    time.Time
}

type round struct {
	path string
	// changes are how often Sallyport changed it.
	changes  int
	readAt   time.Time
	marker   string
	digest   []byte
	sequence int
	failure  error
	failedAt time.Time
	usedAt   time.Time
}

func newRounds(clk clock.PassiveClock) rounds {
	key := make([]byte, sha256.Size)
	_, _ = rand.Read(key) // crypto/rand never fails: it ends the program instead
	return rounds{clock: clk, instance: rand.Text(), key: key, entries: map[string]*round{}, swept: clk.Now()}
}

// recall returns what is known of a secret, and whether that is recent enough for a caller with this interval.
func (r *rounds) recall(key string, interval time.Duration) (marker string, fresh bool, failure error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.clock.Now()
	entry := r.entries[key]
	if entry == nil {
		return "", false, nil
	}
	entry.usedAt = now
	if entry.failure != nil && now.Sub(entry.failedAt) < failureMemory {
		return "", true, entry.failure
	}
	if entry.marker == "" || now.Sub(entry.readAt) >= interval-roundSlack {
		return "", false, nil
	}
	return entry.marker, true, nil
}

// seen records a read that was started at the given time and returns the marker of its content.
func (r *rounds) seen(key string, secret *secrets.Secret, started time.Time) string {
	// The time is there for secrets that are deleted with all their versions and made anew: their versions begin at 1 again.
	marker, digest := fmt.Sprintf("%d.%d", secret.Version, secret.CreatedTime.UnixNano()), []byte(nil)
	if secret.Version == 0 {
		digest = r.digest(secret)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	entry := r.entry(key)
	if digest != nil {
		if !bytes.Equal(digest, entry.digest) {
			r.sequence++ // one for all, so that a number never comes again, not even for a secret that was forgotten meanwhile
			entry.sequence, entry.digest = r.sequence, digest
		}
		marker = r.instance + "." + strconv.Itoa(entry.sequence)
	}
	if !started.Before(entry.readAt) {
		entry.readAt, entry.marker = started, marker
	}
	entry.failure, entry.usedAt = nil, r.clock.Now()
	r.sweep()
	return marker
}

// begin names a read of the secret at path that begins now. Reads have the same name while the secret was not changed between them.
func (r *rounds) begin(key, path string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	entry := r.entry(key)
	entry.path, entry.usedAt = path, r.clock.Now()
	return key + "#" + strconv.Itoa(entry.changes)
}

// changed ends the rounds of all secrets at a path, through whatever VaultConfig: the next who asks reads. A read that is under way may have come too
// early, so it begins no round, and nobody joins it any more.
func (r *rounds) changed(path string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, entry := range r.entries {
		if entry.path == path {
			entry.readAt, entry.marker = r.clock.Now(), ""
			entry.changes++
		}
	}
}

// versionIn returns the version that a marker stands for; 0 for a secret without versions.
func versionIn(marker string) int64 {
	digits, _, _ := strings.Cut(marker, ".")
	version, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		return 0 // the instance of this replica's markers
	}
	return version
}

func (r *rounds) failed(key string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	entry := r.entry(key)
	entry.failure, entry.failedAt, entry.usedAt = err, r.clock.Now(), r.clock.Now()
	r.sweep()
}

// entry returns what is remembered of a secret, and begins to remember it. The caller holds the lock.
func (r *rounds) entry(key string) *round {
	if r.entries[key] == nil {
		r.entries[key] = &round{}
	}
	return r.entries[key]
}

// due is how long the current round of a secret still lasts for a caller with this interval.
func (r *rounds) due(key string, interval time.Duration) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	entry := r.entries[key]
	if entry == nil || entry.readAt.IsZero() {
		return interval
	}
	return entry.readAt.Add(interval).Sub(r.clock.Now())
}

func (r *rounds) sweep() {
	now := r.clock.Now()
	if now.Sub(r.swept) < roundMemory {
		return
	}
	r.swept = now
	for key, entry := range r.entries {
		if now.Sub(entry.usedAt) >= roundMemory {
			delete(r.entries, key)
		}
	}
}

func (r *rounds) digest(secret *secrets.Secret) []byte {
	mac := hmac.New(sha256.New, r.key)
	// Maps are encoded in the order of their keys, so equal secrets have equal encodings.
	_ = json.NewEncoder(mac).Encode(secret.Data)
	return mac.Sum(nil)
}
