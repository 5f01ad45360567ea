package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/duration"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/cli/cluster"
)

// The actions are those that config/argocd has, by the same annotations and fields. Each is a merge patch of what it
// changes, so that it needs the right to patch and undoes nobody's edit.

func (p *program) actions() []*cobra.Command {
	return []*cobra.Command{
		p.action("rerun", "Run a VaultTask once more", []string{"vaulttask"}, rerun),
		p.action("suspend", "Hold a VaultTask, or switch a VaultConfig off", []string{"vaulttask", "vaultconfig"}, suspend),
		p.action("resume", "Let a VaultTask go on, or switch a VaultConfig on", []string{"vaulttask", "vaultconfig"}, resume),
		p.action("refresh", "Have a Connection or VaultConfig looked at now", []string{"connection", "vaultconfig"}, refresh),
	}
}

// change changes an object and says what it did; nothing if there was nothing to do, which the sentence then says, too.
type change func(object client.Object) (string, error)

func (p *program) action(use, short string, kinds []string, do change) *cobra.Command {
	return &cobra.Command{
		Use:               use + " KIND/NAME...",
		Short:             short,
		Example:           "  kubectl sallyport " + use + " " + kinds[0] + "/name",
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: p.completeObjects(kinds),
		RunE: p.run(func(ctx context.Context, to *cluster.Cluster, args []string) error {
			type named struct {
				object client.Object
				called string
			}
			// All arguments are read before anything is changed.
			var objects []named
			for _, arg := range args {
				kind, name, err := object([]string{arg})
				if err != nil {
					return err
				}
				if !slices.Contains(kinds, strings.ToLower(kind.Name)) {
					known, other := strings.Join(kinds, " and "), strings.ToLower(kind.Name)
					return usageError{fmt.Errorf("%s is for %s, not for %s", use, known, other)}
				}
				made := map[string]client.Object{
					"Connection": &v1alpha1.Connection{}, "VaultConfig": &v1alpha1.VaultConfig{}, "VaultTask": &v1alpha1.VaultTask{},
				}[kind.Name]
				if err := to.Get(ctx, client.ObjectKey{Namespace: to.Namespace, Name: name}, made); err != nil {
					return err
				}
				objects = append(objects, named{made, kind.Name + " " + to.Namespace + "/" + name})
			}
			for _, o := range objects {
				before, _ := o.object.DeepCopyObject().(client.Object)
				said, err := do(o.object)
				if err != nil {
					return fmt.Errorf("%s: %w", o.called, err)
				}
				if err := to.Patch(ctx, o.object, client.MergeFrom(before)); err != nil {
					return err
				}
				if _, err := fmt.Fprintf(p.Out, "%s %s\n", o.called, said); err != nil {
					return err
				}
			}
			return nil
		}),
	}
}

func rerun(object client.Object) (string, error) {
	task, is := object.(*v1alpha1.VaultTask)
	if !is {
		return "", errors.ErrUnsupported
	}
	if task.Spec.Suspend != nil && *task.Spec.Suspend {
		return "", errors.New("it is suspended, so that it would not run; resume it first")
	}
	annotate(object, v1alpha1.AnnotationRerun)
	return "runs once more", nil
}

func refresh(object client.Object) (string, error) {
	annotate(object, v1alpha1.AnnotationRefresh)
	return "is looked at now", nil
}

// annotate writes the time, finely enough that a second time within a second is another one.
func annotate(object client.Object, annotation string) {
	annotations := object.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[annotation] = time.Now().UTC().Format("2006-01-02T15:04:05.000Z")
	object.SetAnnotations(annotations)
}

func suspend(object client.Object) (string, error) {
	switch o := object.(type) {
	case *v1alpha1.VaultTask:
		if o.Spec.Suspend != nil && *o.Spec.Suspend {
			return "is suspended already", nil
		}
		if ended := o.Status.CompletionTime; o.Spec.Schedule == nil && ended != nil {
			return "", fmt.Errorf("it ended %s ago, and has no schedule: there is nothing to suspend",
				duration.HumanDuration(time.Since(ended.Time)))
		}
		o.Spec.Suspend = new(true)
		return "is suspended", nil
	case *v1alpha1.VaultConfig:
		if o.Spec.Enabled != nil && !*o.Spec.Enabled {
			return "is switched off already", nil
		}
		o.Spec.Enabled = new(false)
		return "is switched off: every new use is refused, and mounted files stay as they are", nil
	default:
		return "", errors.ErrUnsupported
	}
}

func resume(object client.Object) (string, error) {
	switch o := object.(type) {
	case *v1alpha1.VaultTask:
		if o.Spec.Suspend == nil || !*o.Spec.Suspend {
			return "is not suspended", nil
		}
		o.Spec.Suspend = nil
		return "goes on", nil
	case *v1alpha1.VaultConfig:
		if o.Spec.Enabled == nil || *o.Spec.Enabled {
			return "is not switched off", nil
		}
		o.Spec.Enabled = nil
		return "is switched on", nil
	default:
		return "", errors.ErrUnsupported
	}
}
