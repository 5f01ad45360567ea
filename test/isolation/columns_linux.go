package isolation

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/builder"
)

// Column is something that the victim needs, and how long it may take.
type Column struct {
	Name  string
	Limit time.Duration
	// measure takes one sample, and returns how long it took, without the time in which the machine stood still.
	measure func(context.Context, *Victim) (time.Duration, error)
}

// grace is how much longer than its limit a sample is waited for, so that a failure says by how much, and that a machine
// which stands still for a while is none.
const grace = 15 * time.Second

// The limits tell whoever waits from whoever is forgotten, on a machine with two cores that runs API server, etcd, Vault,
// Sallyport and the attack together. What was found before there were shares was minutes, or never.
const (
	// Calm: a tenth of a second; a pod's start takes seconds anyway.
	mountLimit = 3 * time.Second
	// Nobody else is asked for it.
	unmountLimit = 3 * time.Second
	// A volume is refreshed within its interval, and what a refresh needs may take as long as that again.
	refreshLimit = refreshInterval + 5*time.Second
	// A third of a token's life is left when its renewal is due.
	renewalLimit = 5 * time.Second
	// Calm: a fifth of a second. A task and a status pass through the API server four times, and through the one watch
	// of their kind: where both cores are busy with a tenant's large objects, that alone has taken ten seconds.
	taskLimit   = 20 * time.Second
	statusLimit = 20 * time.Second
	// A credential of a volume that is gone is of use to a thief only.
	leaseLimit = 10 * time.Second
)

// Columns are those of the matrix.
var Columns = []Column{
	{Name: "mount", Limit: mountLimit, measure: measureMount},
	{Name: "unmount", Limit: unmountLimit, measure: measureUnmount},
	{Name: "refresh", Limit: refreshLimit, measure: measureRefresh},
	{Name: "renewal", Limit: renewalLimit},
	{Name: "task", Limit: taskLimit, measure: measureTask},
	{Name: "status", Limit: statusLimit, measure: measureStatus},
	{Name: "lease", Limit: leaseLimit, measure: measureLease},
}

// Figure is what was found of one column.
type Figure struct {
	Samples []time.Duration
	// Failures are the samples that did not come to an end, each of which counts as a sample, too.
	Failures []error
}

// Worst is the longest sample.
func (f Figure) Worst() time.Duration {
	if len(f.Samples) == 0 {
		return 0
	}
	return slices.Max(f.Samples)
}

// Percentile is the time that a share of all samples stayed below.
func (f Figure) Percentile(share float64) time.Duration {
	if len(f.Samples) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(f.Samples))
	return sorted[min(int(share*float64(len(sorted))), len(sorted)-1)]
}

// Figures are those of all columns, by name.
type Figures map[string]Figure

// Check returns what is not as it shall be: a sample that failed or took too long, or a column without one.
func (f Figures) Check() error {
	var failures []error
	for _, column := range Columns {
		figure := f[column.Name]
		switch {
		case len(figure.Failures) > 0:
			failures = append(failures, fmt.Errorf("%s failed %d times of %d, first: %w", column.Name,
				len(figure.Failures), len(figure.Samples), figure.Failures[0]))
		case len(figure.Samples) == 0:
			failures = append(failures, fmt.Errorf("%s was not measured", column.Name))
		case figure.Worst() > column.Limit:
			failures = append(failures, fmt.Errorf("%s took up to %s, more than %s", column.Name,
				figure.Worst().Round(10*time.Millisecond), column.Limit))
		}
	}
	return errors.Join(failures...)
}

// Measure takes samples of all columns until the context ends, and waits for the last of each.
func (v *Victim) Measure(ctx context.Context) Figures {
	started := time.Now()
	figures, mu, all := Figures{}, sync.Mutex{}, sync.WaitGroup{}
	for _, column := range Columns {
		if column.measure == nil {
			continue
		}
		all.Go(func() {
			figure := v.measureColumn(ctx, column)
			mu.Lock()
			defer mu.Unlock()
			figures[column.Name] = figure
		})
	}
	all.Wait()
	figures["renewal"] = Figure{Samples: v.renewals.lateness(started, &v.still)}
	// Between two renewals may lie more time than all the rest took.
	for limit := started.Add(renewedTTL); len(figures["renewal"].Samples) == 0 && time.Now().Before(limit); {
		time.Sleep(pause)
		figures["renewal"] = Figure{Samples: v.renewals.lateness(started, &v.still)}
	}
	return figures
}

func (v *Victim) measureColumn(ctx context.Context, column Column) Figure {
	var figure Figure
	between := pause
	if column.Name == "mount" {
		between = v.MountPause
	}
	for {
		// The sample that is being taken when the time is over shall come to its end.
		took, err := column.measure(context.WithoutCancel(ctx), v)
		figure.Samples = append(figure.Samples, took)
		if err != nil {
			figure.Failures = append(figure.Failures, err)
		}
		select {
		case <-ctx.Done():
			return figure
		case <-time.After(between):
		}
	}
}

func measureMount(ctx context.Context, v *Victim) (time.Duration, error) {
	pod, request, err := v.newVolume(ctx, "steady")
	if err != nil {
		return 0, err
	}
	started := time.Now()
	err = v.mount(ctx, request, mountLimit+grace)
	took := v.still.since(started)
	return took, errors.Join(err, v.unmount(ctx, request, time.Minute), v.s.Client.Delete(ctx, pod))
}

func measureUnmount(ctx context.Context, v *Victim) (time.Duration, error) {
	pod, request, err := v.newVolume(ctx, "steady")
	if err != nil {
		return 0, err
	}
	// Whether it is mounted or not: a pod whose volume never was shall end, too.
	mounted := v.mount(ctx, request, mountLimit)
	started := time.Now()
	err = v.unmount(ctx, request, unmountLimit+grace)
	took := v.still.since(started)
	if _, statErr := os.Stat(filepath.Join(request.GetTargetPath(), "value")); mounted == nil && err == nil && statErr == nil {
		err = errors.New("the file is still there")
	}
	return took, errors.Join(err, v.s.Client.Delete(ctx, pod))
}

func measureRefresh(ctx context.Context, v *Victim) (time.Duration, error) {
	value := v.next("value")
	v.write("rotated", value)
	started := time.Now()
	err := eventually(ctx, refreshLimit+grace, func(context.Context) error {
		content, err := os.ReadFile(filepath.Join(v.resident.GetTargetPath(), "value"))
		if err == nil && string(content) != value {
			err = errors.New("the pod has the former value")
		}
		return err
	})
	return v.still.since(started), err
}

func measureTask(ctx context.Context, v *Victim) (time.Duration, error) {
	name := v.next("task")
	task := builder.VaultTask(victimNamespace, name, v1alpha1.OperationWrite, "victim/tasks/"+name,
		builder.WithData(map[string]v1alpha1.TaskValue{"a": "b"}))
	started := time.Now()
	if err := v.s.Client.Create(ctx, task); err != nil {
		return 0, err
	}
	err := v.awaitCondition(ctx, task, v1alpha1.ConditionComplete, taskLimit+grace)
	return v.still.since(started), errors.Join(err, v.s.Client.Delete(ctx, task))
}

func measureStatus(ctx context.Context, v *Victim) (time.Duration, error) {
	connection := v.connection(v.next("status"), "steady")
	started := time.Now()
	if err := v.s.Client.Create(ctx, connection); err != nil {
		return 0, err
	}
	err := v.awaitReady(ctx, connection, statusLimit+grace)
	return v.still.since(started), errors.Join(err, v.s.Client.Delete(ctx, connection))
}

// measureLease is how long a lease outlives the volume of it.
func measureLease(ctx context.Context, v *Victim) (time.Duration, error) {
	before, err := v.leases(ctx)
	if err != nil {
		return 0, err
	}
	pod, request, err := v.newVolume(ctx, "leased")
	if err != nil {
		return 0, err
	}
	if err := v.mount(ctx, request, leaseLimit+grace); err != nil {
		return 0, errors.Join(err, v.unmount(ctx, request, time.Minute), v.s.Client.Delete(ctx, pod))
	}
	mounted, err := v.leases(ctx)
	if err != nil {
		return 0, err
	}
	started := time.Now()
	err = errors.Join(v.unmount(ctx, request, unmountLimit+grace), v.s.Client.Delete(ctx, pod))
	if err != nil {
		return v.still.since(started), err
	}
	err = eventually(ctx, leaseLimit+grace, func(ctx context.Context) error {
		left, listErr := v.leases(ctx)
		for lease := range left {
			if mounted[lease] && !before[lease] {
				return errors.New("the lease is still in Vault")
			}
		}
		return listErr
	})
	return v.still.since(started), err
}

// leases are those that Vault has of the victim's. One that was issued when a replica was killed stays until it ends.
func (v *Victim) leases(ctx context.Context) (map[string]bool, error) {
	list, err := v.s.Vault.Client().Logical().ListWithContext(ctx, "sys/leases/lookup/ssh/creds/otp")
	found := map[string]bool{}
	if err != nil || list == nil {
		return found, err
	}
	keys, _ := list.Data["keys"].([]any)
	for _, key := range keys {
		if lease, ok := key.(string); ok {
			found[lease] = true
		}
	}
	return found, nil
}
