package diagnosis

import (
	"context"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/cli/health"
	"sallyport.dev/sallyport/internal/expression"
)

func followConnection(ctx context.Context, i *Inspection, key client.ObjectKey) (*Step, error) {
	c := &v1alpha1.Connection{}
	if err := i.objects.Get(ctx, key, c); err != nil {
		return nil, err
	}
	return i.connection(ctx, c)
}

func followVaultConfig(ctx context.Context, i *Inspection, key client.ObjectKey) (*Step, error) {
	c := &v1alpha1.VaultConfig{}
	if err := i.objects.Get(ctx, key, c); err != nil {
		return nil, err
	}
	return i.vaultConfig(ctx, c)
}

func followVaultTask(ctx context.Context, i *Inspection, key client.ObjectKey) (*Step, error) {
	task := &v1alpha1.VaultTask{}
	if err := i.objects.Get(ctx, key, task); err != nil {
		return nil, err
	}
	step := &Step{Object: "VaultTask " + key.String(), Health: health.OfVaultTask(task), Details: i.taskDetails(task)}
	if finished := task.Status.CompletionTime != nil && !step.Unseen; finished {
		// What it needed then may be gone now, and that is nothing to it.
		return i.visit(step)
	}
	return i.visit(step, func() (*Step, error) {
		switch {
		case task.Spec.VaultConfigRef != nil:
			return i.referredConfig(ctx, task.Namespace, *task.Spec.VaultConfigRef, step)
		case task.Spec.ConnectionRef != nil:
			connection := client.ObjectKey{Namespace: task.Namespace, Name: task.Spec.ConnectionRef.Name}
			return i.referredConnection(ctx, connection, step)
		default:
			return nil, nil
		}
	}, i.controllerIfUnseen(ctx, step))
}

func (i *Inspection) taskDetails(task *v1alpha1.VaultTask) []string {
	var details []string
	if at := task.Status.CompletionTime; at != nil {
		details = append(details, "ended "+i.age(at)+" ago")
	} else if at := task.Status.StartTime; at != nil {
		details = append(details, "began "+i.age(at)+" ago")
	}
	if account := task.Spec.ServiceAccountName; account != "" {
		details = append(details, "logs in as service account "+task.Namespace+"/"+account)
	}
	if result := task.Status.Result; result != nil && result.Version > 0 {
		details = append(details, fmt.Sprintf("%s version %d", result.Path, result.Version))
	}
	if at := task.Status.NextScheduleTime; at != nil {
		details = append(details, "next run in "+duration.HumanDuration(at.Sub(i.now)))
	}
	return details
}

// connection follows a Connection to the VaultConfigs that it uses.
func (i *Inspection) connection(ctx context.Context, c *v1alpha1.Connection) (*Step, error) {
	step := &Step{
		Object: "Connection " + client.ObjectKeyFromObject(c).String(), Health: health.OfConnection(c),
		Details: i.connectionDetails(c),
	}
	var follow []func() (*Step, error)
	for _, reference := range Configs(c) {
		follow = append(follow, func() (*Step, error) { return i.referredConfig(ctx, c.Namespace, reference, step) })
	}
	return i.visit(step, append(follow, i.controllerIfUnseen(ctx, step))...)
}

func (i *Inspection) connectionDetails(c *v1alpha1.Connection) []string {
	var details []string
	for _, secret := range c.Status.Secrets {
		detail := secret.Path
		if secret.Version > 0 {
			detail += fmt.Sprintf(" version %d", secret.Version)
		}
		if secret.CreatedTime != nil {
			detail += ", written " + i.age(secret.CreatedTime) + " ago"
		}
		// Attached under two names, or attached and named by its path, a secret is there twice.
		if !slices.Contains(details, detail) {
			details = append(details, detail)
		}
	}
	mounts := c.Status.Mounts
	if mounts == nil || mounts.Volumes == nil {
		return details
	}
	detail := "mounted by " + health.Count(int(*mounts.Volumes), "volume")
	if mounts.LastRefreshTime != nil {
		detail += ", last compared with Vault " + i.age(mounts.LastRefreshTime) + " ago"
	}
	details = append(details, detail)
	for _, served := range mounts.Secrets {
		if served.OldestVersion != served.NewestVersion {
			details = append(details,
				fmt.Sprintf("volumes hold versions %d to %d of %s", served.OldestVersion, served.NewestVersion, served.Path))
		}
	}
	return details
}

// Configs are the VaultConfigs that a Connection uses, in the order of their use, each once.
func Configs(c *v1alpha1.Connection) []v1alpha1.VaultConfigReference {
	var found []v1alpha1.VaultConfigReference
	seen := map[v1alpha1.VaultConfigReference]bool{}
	add := func(reference v1alpha1.VaultConfigReference) {
		if reference.Namespace == "" {
			reference.Namespace = c.Namespace
		}
		if !seen[reference] {
			seen[reference] = true
			found = append(found, reference)
		}
	}
	for _, secret := range c.Spec.VaultSecrets {
		add(secret.VaultConfigRef)
	}
	value, err := expression.ParseValue(c.Spec.Value)
	if err != nil {
		return found // which its status says
	}
	texts, err := expression.ParseTexts(textsOf(c.Spec.Files))
	if err != nil {
		return found
	}
	for _, placed := range slices.Concat(value.References(), texts.References()) {
		if placed.Reference.Config != "" {
			add(v1alpha1.VaultConfigReference{Name: placed.Reference.Config})
		}
	}
	return found
}

// textsOf are the texts of files that may hold references, each under a name of its own.
func textsOf(files []v1alpha1.ConnectionFile) map[string]string {
	texts := map[string]string{}
	for n := range files {
		of := []string{files[n].Value}
		if store := files[n].Keystore; store != nil {
			of = append([]string{store.Password, store.PrivateKey}, store.Certificates...)
		}
		for i, text := range of {
			texts[fmt.Sprintf("%03d %03d", n, i)] = text
		}
	}
	return texts
}

func (i *Inspection) referredConnection(ctx context.Context, key client.ObjectKey, by *Step) (*Step, error) {
	c := &v1alpha1.Connection{}
	err := i.objects.Get(ctx, key, c)
	if err == nil {
		return i.connection(ctx, c)
	}
	return i.absent("Connection "+key.String(), v1alpha1.ReasonConnectionNotFound, err, by)
}

func (i *Inspection) referredConfig(
	ctx context.Context, namespace string, reference v1alpha1.VaultConfigReference, by *Step,
) (*Step, error) {
	key := client.ObjectKey{Namespace: reference.Namespace, Name: reference.Name}
	if key.Namespace == "" {
		key.Namespace = namespace
	}
	c := &v1alpha1.VaultConfig{}
	err := i.objects.Get(ctx, key, c)
	if err == nil {
		return i.vaultConfig(ctx, c)
	}
	return i.absent("VaultConfig "+key.String(), v1alpha1.ReasonConfigNotFound, err, by)
}

// absent is the step for what another object refers to and what cannot be read. If it is missing, and whoever refers to
// it says so itself, the sentence there is the better one: it knows the place.
func (i *Inspection) absent(object, reason string, err error, by *Step) (*Step, error) {
	switch {
	case apierrors.IsForbidden(err):
		unknown := health.Health{State: health.Unknown, Message: "you have no right to look at it"}
		return i.visit(&Step{Object: object, Health: unknown})
	case apierrors.IsNotFound(err):
		missing := health.Health{State: health.Missing, Reason: reason, Message: object + " does not exist"}
		cause, failed := i.visit(&Step{Object: object, Health: missing})
		if by.Reason == reason || by.Reason == v1alpha1.ReasonNamespaceNotAllowed {
			return nil, failed
		}
		return cause, failed
	default:
		return nil, err
	}
}

// vaultConfig follows a VaultConfig to its Vault, of which its status tells.
func (i *Inspection) vaultConfig(ctx context.Context, c *v1alpha1.VaultConfig) (*Step, error) {
	step := &Step{Object: "VaultConfig " + client.ObjectKeyFromObject(c).String(), Health: health.OfVaultConfig(c)}
	if token := c.Status.Token; token != nil {
		if at := token.LastRenewalTime; at != nil {
			step.Details = append(step.Details, "token renewed "+i.age(at)+" ago")
		}
		if at := token.ExpireTime; at != nil {
			step.Details = append(step.Details, "token expires in "+duration.HumanDuration(at.Sub(i.now)))
		}
	}
	for _, condition := range []*metav1.Condition{
		health.Condition(c.Status.Conditions, v1alpha1.ConditionRenewing, metav1.ConditionTrue),
		health.Condition(c.Status.Conditions, v1alpha1.ConditionCredentialLimited, metav1.ConditionFalse),
	} {
		if condition != nil && condition.Status != metav1.ConditionUnknown {
			step.Details = append(step.Details, condition.Reason+": "+condition.Message)
		}
	}
	return i.visit(step, func() (*Step, error) { return i.vault(c, step) }, i.controllerIfUnseen(ctx, step))
}

func (i *Inspection) vault(c *v1alpha1.VaultConfig, by *Step) (*Step, error) {
	reachable := meta.FindStatusCondition(c.Status.Conditions, v1alpha1.ConditionReachable)
	if by.Unseen || by.State == health.Suspended || reachable == nil || reachable.Status == metav1.ConditionUnknown {
		return nil, nil // nobody has asked it
	}
	step := &Step{Object: "Vault " + c.Spec.URL, Health: healthy("")}
	if vault := c.Status.Vault; vault != nil && vault.Version != "" {
		step.Details = append(step.Details, "version "+vault.Version)
	}
	if reachable.Status == metav1.ConditionFalse { // Ready has the sentence
		step.Health = health.Health{State: by.State, Reason: reachable.Reason, Message: by.Message}
	}
	return i.visit(step)
}

// controllerIfUnseen looks at Sallyport's controller for what it has not looked at.
func (i *Inspection) controllerIfUnseen(ctx context.Context, of *Step) func() (*Step, error) {
	return func() (*Step, error) {
		if !of.Unseen || i.looked {
			return i.controller, nil
		}
		i.looked = true
		deployments := &appsv1.DeploymentList{}
		err := i.objects.List(ctx, deployments, client.MatchingLabels{
			"app.kubernetes.io/name": "sallyport", "app.kubernetes.io/component": "controller",
		})
		step := &Step{Object: "Sallyport's controller"}
		switch {
		case apierrors.IsForbidden(err):
			step.Health = health.Health{State: health.Unknown, Message: "you have no right to look at it"}
		case err != nil:
			return nil, err
		case len(deployments.Items) == 0:
			step.Health = health.Health{
				State: health.Missing, Message: "there is no controller of Sallyport in this cluster; install it (docs/install.md)",
			}
		default:
			d := &deployments.Items[0]
			step.Object = "Deployment " + client.ObjectKeyFromObject(d).String()
			step.Health = healthy("")
			if d.Status.ReadyReplicas == 0 {
				step.Health = degraded("", "no replica of Sallyport's controller is ready; see its pods' events and logs")
			}
		}
		i.controller, err = i.visit(step)
		return i.controller, err
	}
}
