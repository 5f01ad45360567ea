package node

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"

	"github.com/go-logr/logr"

	"sallyport.dev/sallyport/internal/fault"
)

// leases are what the resolver says that one volume has, sealed with a key that nodes do not have. They print as nothing.
type leases []byte

func (l leases) String() string   { return "[leases]" }
func (l leases) GoString() string { return l.String() }
func (l leases) MarshalLog() any  { return l.String() }

// Format makes every verb of package fmt print what String does.
func (l leases) Format(state fmt.State, _ rune) { _, _ = state.Write([]byte(l.String())) }

// leaseBytes is the memory that leases take beside a volume, besides the page that its state takes in any case.
func leaseBytes(l leases) int64 {
	return inPages(int64(base64.StdEncoding.EncodedLen(len(l))))
}

// keepLeases takes over the leases of an answer, in place of all that the volume had. With record they are in the written state
// when it returns: so they are before files are touched, and whoever finds the volume after a kill finds with it all that was
// made for it. Without, the caller writes the state that it returns. The caller holds the volume's lock.
func (d *Driver) keepLeases(v *volume, fresh leases, record bool) (state, error) {
	v.mu.Lock()
	// The node cannot refuse what was made already, so whether it is full is not asked.
	growth := leaseBytes(fresh) - leaseBytes(v.state.Leases)
	v.unrecorded = v.unrecorded || !bytes.Equal(v.state.Leases, fresh)
	v.state.Leases = fresh
	v.bytes += growth
	current, recorded := v.state, !v.unrecorded
	v.mu.Unlock()
	d.budget.charge(growth)
	if recorded || !record {
		return current, nil
	}
	if err := d.writeState(v.dir, current); err != nil {
		return current, fault.In(err, "recording the leases of the volume")
	}
	v.mu.Lock()
	v.unrecorded = false
	v.mu.Unlock()
	return current, nil
}

// giveBackAll queues all leases that the volume has, if any: those of the state beside it, and those that the driver knows of. Done
// before anything of the volume is removed, it needs no memory of an earlier process and may be done twice.
func (d *Driver) giveBackAll(ctx context.Context, id string, beside state) {
	d.giveBack(ctx, beside.Pod, beside.Leases)
	if v := d.volumes.get(id); v != nil {
		// They differ if the last could not be written.
		known, _ := v.snapshot()
		d.giveBack(ctx, known.Pod, known.Leases)
	}
}

// giveBack queues leases of a volume that is gone, or never came to be, for release. It cannot fail: at worst they run out.
func (d *Driver) giveBack(ctx context.Context, pod podIdentity, l leases) {
	if len(l) == 0 {
		return
	}
	logger := logr.FromContextOrDiscard(ctx).WithValues(keyPod, pod)
	name, err := d.releases.add(release{Pod: pod, Leases: l})
	if name == "" {
		d.metrics.released(err)
		logger.Error(err, messageReleaseLost)
		return
	}
	if err != nil {
		logger.Error(err, messageReleaseNotStored)
	}
	d.releaseDue.Add(name)
}
