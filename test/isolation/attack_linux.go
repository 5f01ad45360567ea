package isolation

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Attack is a row of the matrix.
type Attack struct {
	// Name is what the tenant does.
	Name string
	// Begin starts it, with the rights of the tenant, and returns how to see that it happens: what happened so far, and
	// an error as long as that is less than there has to be.
	Begin func(*Tenant) (Proof, error)
	// Restart has each replica begin anew, with what the attack has left in the API server.
	Restart bool
}

// Rest is no attack: what the victim has while nothing else happens.
var Rest = Attack{Name: "nothing", Begin: func(*Tenant) (Proof, error) {
	return func() (string, error) { return "", nil }, nil
}}

// Proof says what was seen of an attack.
type Proof func() (string, error)

// atLeast is the proof that something was counted often enough.
func atLeast(number int, what string, count func() int) Proof {
	return func() (string, error) {
		seen := count()
		text := fmt.Sprintf("%d %s", seen, what)
		if seen < number {
			return text, fmt.Errorf("the attack did not happen: %s, not %d", text, number)
		}
		return text, nil
	}
}

// Result is what was found of a row.
type Result struct {
	Attack  string
	Figures Figures
	// Seen is what the attacker saw, and Reasons are what its objects say in their conditions, and how often.
	Seen    string
	Reasons string
	// Controller and Node are the most memory that a replica and the node plugin had, in bytes.
	Controller, Node int64
	// Ends are the ends of processes that nobody wanted.
	Ends []string
	// Failures are all that is not as it shall be.
	Failures []error
}

// restartWithin is how soon all is as before when the replicas have begun anew: the leader has to be elected, and caches
// to be filled.
const restartWithin = time.Minute

// Run attacks in a namespace that does not exist yet, and measures what the victim has meanwhile.
func (v *Victim) Run(ctx context.Context, attack Attack, namespace string, window time.Duration) (*Result, error) {
	before := len(v.s.Ends())
	v.s.Memory()
	tenant, err := newTenant(ctx, v.s, namespace)
	if err != nil {
		return nil, err
	}
	measuring, done := context.WithCancel(ctx)
	defer done()
	figures := make(chan Figures, 1)
	go func() { figures <- v.Measure(measuring) }()
	proof, beginErr := attack.Begin(tenant)
	for left := window; left > 0; {
		began := time.Now()
		sleep(ctx, left)
		left = v.still.within(began, time.Now())
	}
	done()
	result := &Result{Attack: attack.Name, Figures: <-figures}
	if beginErr != nil {
		result.Failures = append(result.Failures, fmt.Errorf("the attack did not begin: %w", beginErr))
	} else {
		var proofErr error
		result.Seen, proofErr = proof()
		result.Failures = append(result.Failures, proofErr)
	}
	if attack.Restart {
		err := errors.Join(v.s.restart(ctx), v.Calm(ctx, restartWithin))
		if err != nil {
			err = fmt.Errorf("after a restart it was not as before: %w", err)
		}
		result.Failures = append(result.Failures, err)
	}
	result.Reasons = tenant.reasons(ctx)
	result.Failures = append(result.Failures, result.Figures.Check(), tenant.stop(ctx))
	result.Ends = v.s.Ends()[before:]
	for _, end := range result.Ends {
		result.Failures = append(result.Failures, errors.New(end))
	}
	result.Controller, result.Node = v.s.Memory()
	return result, nil
}

// Calm waits until one sample of every column is as it shall be; but for the refresh, which is slow by its nature and
// has the next row to show itself.
func (v *Victim) Calm(ctx context.Context, within time.Duration) error {
	began := time.Now()
	for {
		figures := Figures{}
		for _, column := range Columns {
			if column.measure == nil || (column.Name == "refresh" && !Long()) {
				figures[column.Name] = Figure{Samples: []time.Duration{0}} // renewals come when they are due
				continue
			}
			once, cancel := context.WithCancel(ctx)
			cancel()
			figures[column.Name] = v.measureColumn(once, column)
		}
		err := errors.Join(figures.Check(), v.allReady(ctx))
		if err == nil || v.still.since(began) > within {
			return err
		}
		if err := v.Recover(ctx); err != nil && v.still.since(began) > within {
			return err
		}
	}
}
