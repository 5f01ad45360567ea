package soundness

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/cli/diagnosis"
	"sallyport.dev/sallyport/internal/cli/health"
)

const (
	// resolvers is the ConfigMap in which each replica publishes its certificate.
	resolvers = "sallyport-resolvers"
	// lease is the one of the leader.
	lease = "sallyport-controller"
	// minLife is how long a certificate lives at least if it is renewed in time: it is made for 24 hours, and renewed
	// after 12.
	minLife = 11 * time.Hour
	// maxNodes is how many nodes are named in a sentence.
	maxNodes = 5
)

func (c *checkup) controller(ctx context.Context) error {
	const subject = "Controller"
	deployments := &appsv1.DeploymentList{}
	if ok, err := c.found(subject, c.List(ctx, deployments, part("controller")), ""); !ok {
		return err
	}
	if len(deployments.Items) == 0 {
		c.say(subject, health.Missing, "there is no Deployment sallyport-controller: install Sallyport (docs/install.md)")
		return nil
	}
	if len(deployments.Items) > 1 {
		c.say(subject, health.Degraded, "there are %d Sallyports, and a cluster has one: remove the others", len(deployments.Items))
	}
	d := &deployments.Items[0]
	c.namespace, c.nodeNamespace = d.Namespace, d.Namespace
	want := int32(1)
	if d.Spec.Replicas != nil {
		want = *d.Spec.Replicas
	}
	state, cure := health.Healthy, ""
	if d.Status.ReadyReplicas < want {
		state, cure = health.Degraded, "; see the events and logs of its pods"
	}
	c.say(subject, state, "%d of %d replicas are ready, of image %s%s", d.Status.ReadyReplicas, want, image(&d.Spec.Template), cure)
	pods := &corev1.PodList{}
	ok, err := c.found("Pods of the controller", c.List(ctx, pods, client.InNamespace(c.namespace), part("controller")), "")
	if ok {
		c.pods = pods.Items
	}
	return err
}

func image(template *corev1.PodTemplateSpec) string {
	if len(template.Spec.Containers) == 0 {
		return "-"
	}
	return template.Spec.Containers[0].Image
}

// certificates looks whether nodes can find each replica that is ready, and trust it.
func (c *checkup) certificates(ctx context.Context) error {
	const subject = "Certificates"
	published := &corev1.ConfigMap{}
	err := c.Get(ctx, client.ObjectKey{Namespace: c.namespace, Name: resolvers}, published)
	missing := fmt.Sprintf("there is no ConfigMap %s/%s: no replica of the controller has published itself", c.namespace, resolvers)
	if ok, failed := c.found(subject, err, missing); !ok {
		return failed
	}
	wrong := 0
	for n := range c.pods {
		pod := &c.pods[n]
		if !ready(pod) {
			continue
		}
		if problem := c.certificate(published.Data[pod.Name]); problem != "" {
			c.say(subject, health.Degraded, "replica %s %s; see its log", pod.Name, problem)
			wrong++
		}
	}
	if wrong == 0 {
		c.say(subject, health.Healthy, "%d replicas are published", len(published.Data))
	}
	return nil
}

func ready(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(of corev1.PodCondition) bool {
		return of.Type == corev1.PodReady && of.Status == corev1.ConditionTrue
	})
}

// certificate says what is wrong with what a replica has published.
func (c *checkup) certificate(bundle string) string {
	block, _ := pem.Decode([]byte(bundle))
	if block == nil {
		return "is ready and has published no certificate"
	}
	serving, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return "has published what is no certificate"
	}
	left := serving.NotAfter.Sub(c.clock)
	switch {
	case left <= 0:
		return "has a certificate that expired " + duration.HumanDuration(-left) + " ago"
	case left < minLife:
		return "has not renewed its certificate, which ends in " + duration.HumanDuration(left)
	default:
		return ""
	}
}

func (c *checkup) nodePlugin(ctx context.Context) error {
	const subject = "Node plugin"
	sets := &appsv1.DaemonSetList{}
	if ok, err := c.found(subject, c.List(ctx, sets, part("node")), ""); !ok {
		return err
	}
	if len(sets.Items) == 0 {
		c.say(subject, health.Missing, "there is no DaemonSet sallyport-node: install Sallyport (docs/install.md)")
		return nil
	}
	s := &sets.Items[0]
	c.nodeNamespace = s.Namespace
	state, cure := health.Healthy, ""
	if s.Status.NumberReady < s.Status.DesiredNumberScheduled {
		state, cure = health.Degraded, "; see the events and logs of its pods"
	}
	c.say(subject, state, "%d of %d pods are ready, of image %s%s",
		s.Status.NumberReady, s.Status.DesiredNumberScheduled, image(&s.Spec.Template), cure)
	return nil
}

// driver looks at what the kubelets are told of the driver.
func (c *checkup) driver(ctx context.Context) error {
	const subject = "CSIDriver"
	driver := &storagev1.CSIDriver{}
	missing := v1alpha1.DriverName + " does not exist: apply config/node"
	if ok, err := c.found(subject, c.Get(ctx, client.ObjectKey{Name: v1alpha1.DriverName}, driver), missing); !ok {
		return err
	}
	is := func(field *bool) bool { return field != nil && *field }
	var wrong []string
	if !is(driver.Spec.PodInfoOnMount) {
		wrong = append(wrong, "podInfoOnMount: true")
	}
	if !is(driver.Spec.RequiresRepublish) {
		wrong = append(wrong, "requiresRepublish: true")
	}
	if !slices.ContainsFunc(driver.Spec.TokenRequests, func(r storagev1.TokenRequest) bool {
		return r.Audience == v1alpha1.AudiencePod
	}) {
		wrong = append(wrong, "a tokenRequest for the audience "+v1alpha1.AudiencePod)
	}
	if c.minor >= tokensInSecrets && !is(driver.Spec.ServiceAccountTokenInSecrets) {
		wrong = append(wrong, "serviceAccountTokenInSecrets: true, which this cluster knows")
	}
	if len(wrong) > 0 {
		c.say(subject, health.Degraded, "%s must have %s: apply config/node", v1alpha1.DriverName, strings.Join(wrong, ", "))
		return nil
	}
	c.say(subject, health.Healthy, "%s says what it must", v1alpha1.DriverName)
	return nil
}

// nodes looks whether the driver is registered on every node that the node plugin runs on.
func (c *checkup) nodes(ctx context.Context) error {
	const subject = "Nodes"
	nodes, registered := &corev1.NodeList{}, &storagev1.CSINodeList{}
	for _, list := range []client.ObjectList{nodes, registered} {
		if ok, err := c.found(subject, c.List(ctx, list), ""); !ok {
			return err
		}
	}
	has := map[string]bool{}
	for n := range registered.Items {
		has[registered.Items[n].Name] = diagnosis.Registered(&registered.Items[n])
	}
	var without []string
	linux := 0
	for n := range nodes.Items {
		node := &nodes.Items[n]
		if os := node.Labels[corev1.LabelOSStable]; os != "" && os != "linux" {
			continue
		}
		linux++
		if !has[node.Name] {
			without = append(without, node.Name)
		}
	}
	if len(without) == 0 {
		c.say(subject, health.Healthy, "the driver is registered on all %d", linux)
		return nil
	}
	names := strings.Join(without[:min(len(without), maxNodes)], ", ")
	if more := len(without) - maxNodes; more > 0 {
		names += fmt.Sprintf(" and %d more", more)
	}
	c.say(subject, health.Degraded, "the driver is not registered on %d of %d (%s): see the pods of the DaemonSet sallyport-node there",
		len(without), linux, names)
	return nil
}

// leader looks whether a replica leads, and whether its clock is the API server's.
func (c *checkup) leader(ctx context.Context) error {
	const subject = "Leader"
	held := &coordinationv1.Lease{}
	missing := "no replica of the controller leads, so that nothing is reconciled; see their logs"
	err := c.Get(ctx, client.ObjectKey{Namespace: c.namespace, Name: lease}, held)
	if ok, failed := c.found(subject, err, missing); !ok {
		return failed
	}
	if held.Spec.RenewTime == nil || held.Spec.HolderIdentity == nil || *held.Spec.HolderIdentity == "" {
		c.say(subject, health.Missing, "%s", missing)
		return nil
	}
	holder, _, _ := strings.Cut(*held.Spec.HolderIdentity, "_")
	switch age := c.clock.Sub(held.Spec.RenewTime.Time); {
	case age < -maxSkew:
		c.say(subject, health.Degraded, "the clock of %s is %s ahead of the API server's: set it by NTP", holder, duration.HumanDuration(-age))
	case age > time.Minute:
		c.say(subject, health.Degraded, "%s led, and was last heard of %s ago, or its clock is late; see the replicas' logs", holder,
			duration.HumanDuration(age))
	default:
		c.say(subject, health.Healthy, "%s", holder)
	}
	return nil
}

// vaults tells of each Vault whether the controller reaches it, as VaultConfigs say.
func (c *checkup) vaults(ctx context.Context) error {
	configs := &v1alpha1.VaultConfigList{}
	err := c.List(ctx, configs)
	if apierrors.IsForbidden(err) {
		err = c.List(ctx, configs, client.InNamespace(c.Namespace))
	}
	if ok, failed := c.found("Vaults", err, ""); !ok {
		return failed
	}
	asked, reached := map[string]bool{}, map[string]bool{}
	for n := range configs.Items {
		config := &configs.Items[n]
		reachable := meta.FindStatusCondition(config.Status.Conditions, v1alpha1.ConditionReachable)
		is := health.OfVaultConfig(config)
		switch {
		case is.Unseen, is.State == health.Suspended, reachable == nil, reachable.Status == metav1.ConditionUnknown:
		case reachable.Status == metav1.ConditionTrue:
			asked[config.Spec.URL], reached[config.Spec.URL] = true, true
		default:
			asked[config.Spec.URL] = true
			c.findings = append(c.findings, Finding{
				Subject: "Vault of VaultConfig " + client.ObjectKeyFromObject(config).String(), Health: is,
			})
		}
	}
	state := health.Healthy
	if len(reached) < len(asked) {
		state = health.Degraded
	}
	c.say("Vaults", state, "%d VaultConfigs; of %d addresses of Vaults, %d are reached",
		len(configs.Items), len(asked), len(reached))
	return nil
}
