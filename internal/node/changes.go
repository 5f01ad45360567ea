package node

import (
	"context"
	"slices"
	"time"

	resolverv1 "sallyport.dev/sallyport/internal/resolver/api/v1"
)

const (
	// changesPause is the pause after each answer, in which more changes may gather.
	changesPause = 100 * time.Millisecond
	// changesBackoff is the pause after a failure. Nothing but time is lost by it: every volume is refreshed in its turn.
	changesBackoff = 5 * time.Second
)

// follow waits for changes and refreshes the volumes that they concern, until ctx ends.
func (d *Driver) follow(ctx context.Context) {
	if d.config.Changes == nil {
		return
	}
	cursor := ""
	for ctx.Err() == nil {
		response, err := d.config.Changes.Changes(ctx, &resolverv1.ChangesRequest{After: cursor})
		pause := changesPause
		if err != nil {
			pause = jitter(changesBackoff)
		} else {
			cursor = response.GetCursor()
			d.changed(response.GetTopics())
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

// changed has the volumes with one of the topics refreshed now.
func (d *Driver) changed(topics []string) {
	if len(topics) == 0 {
		return
	}
	for _, v := range d.volumes.all() {
		if v.change(topics) {
			d.schedule(v, 0)
		}
	}
}

// change notes that one of the topics changed, if the volume has it. A refresh that is under way may have come too early, so another follows it.
func (v *volume) change(topics []string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.waiting || !slices.ContainsFunc(v.topics, func(topic string) bool { return slices.Contains(topics, topic) }) {
		return false
	}
	v.changed = true
	return true
}

func (v *volume) setTopics(topics []string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.topics = topics
}
