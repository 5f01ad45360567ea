package migrate

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// driverCSI is the driver of SecretProviderClasses.
const driverCSI = "secrets-store.csi.k8s.io"

// pods are the pod templates that take what was migrated.
type pods struct{ *migration }

// volumes puts Connections into the places of volumes that hold a synced Secret or a SecretProviderClass.
func (m *pods) volumes(w *Workload) {
	for i, volume := range objects(w.spec()["volumes"]) {
		name, _ := volume["name"].(string)
		at := fmt.Sprintf("volume %q", name)
		f := &fields{m: m.migration, object: w.called, at: at, content: volume, seen: map[string]bool{}}
		if name == "" {
			f.m.note(NoEqual, w.called, fmt.Sprintf("volumes[%d]", i), "the volume has no name; correct the manifest")
			continue
		}
		if mounted := m.connectionFor(w, f, name); mounted != nil && mounted.lost {
			f.note(NoEqual, "", "the volume was left as it is, for not all files of %s have an equal", mounted.of)
		} else if mounted != nil {
			w.mount(name, mounted.key)
			m.nested(w, name)
		}
	}
}

// connectionFor returns what a volume is to hold; nil if it is none of those that were migrated.
func (m *pods) connectionFor(w *Workload, f *fields, volume string) *bundle {
	switch {
	case f.isSet("secret"):
		secret := f.part("secret")
		if of := m.secrets[key{w.namespace, secret.text("secretName")}]; of != nil {
			return m.selection(w, secret, of, volume)
		}
	case f.isSet("csi"):
		csi := f.part("csi")
		if csi.text("driver") != driverCSI {
			return nil
		}
		class := key{w.namespace, csi.part("volumeAttributes").text("secretProviderClass")}
		if of, known := m.classes[class]; known {
			if of != nil {
				of.wanted = true
			}
			return of
		}
		csi.note(NoEqual, "", "SecretProviderClass %s is not among the manifests: give it with -f too, or read both from the cluster", class)
	case f.isSet("projected"):
		return m.projected(w, f.part("projected"), volume)
	}
	return nil
}

// projected is for a volume of several sources, of which a Connection can take the place of one alone.
func (m *pods) projected(w *Workload, f *fields, volume string) *bundle {
	sources := f.list("sources")
	for _, source := range sources {
		secret := source.part("secret")
		of := m.secrets[key{w.namespace, secret.text("name")}]
		switch {
		case of == nil:
		case len(sources) == 1:
			secret.content = maps.Clone(secret.content)
			secret.content["defaultMode"] = f.value("defaultMode")
			return m.selection(w, secret, of, volume)
		default:
			secret.note(NoEqual, "", "a projected volume cannot hold a Connection beside other sources: mount Connection %s into a directory "+
				"of its own, or keep Secret %s", of.name, secret.text("name"))
		}
	}
	return nil
}

// selection returns the bundle with the names and modes that a Secret's volume gives its keys.
func (m *pods) selection(w *Workload, f *fields, of *bundle, volume string) *bundle {
	f.differs("optional", "a pod waits until each of its secrets is there")
	mode, items := f.number("defaultMode"), f.list("items")
	if len(items) == 0 && (mode == 0 || mode == 0o644) {
		of.wanted = true
		return of
	}
	chosen, before := &bundle{}, m.losses()
	if len(items) == 0 {
		chosen.files = slices.Clone(of.files)
		if of.spread != "" {
			f.note(NoEqual, "defaultMode", "the mode of files whose names only Vault knows cannot be chosen: name the keys with --keys %s=KEY,KEY", of.key)
		}
	}
	for _, item := range items {
		one, has := of.find(item.text("key"))
		if !has {
			item.note(NoEqual, "key", "%s gives no key %q, so that the volume was left as it is", of.of, item.text("key"))
			return nil
		}
		one.name = item.text("path")
		if of := item.number("mode"); of != 0 {
			one.mode = w.mode(of)
		}
		chosen.add(item, "path", one)
	}
	if m.losses() > before || (len(items) == 0 && of.lost) {
		return &bundle{of: of.of, lost: true}
	}
	for i := range chosen.files {
		if mode != 0 && mode != 0o644 && chosen.files[i].mode == nil {
			chosen.files[i].mode = w.mode(mode)
		}
	}
	own := slices.ContainsFunc(chosen.files, func(f file) bool { return f.mode != nil })
	if !own && slices.Equal(chosen.names(), of.names()) {
		of.wanted = true
		return of
	}
	return m.variant(of, volume, chosen.files)
}

// find returns the file with a name. Of a secret that is spread, each name may be one.
func (b *bundle) find(name string) (file, bool) {
	i := slices.IndexFunc(b.files, func(one file) bool { return one.name == name })
	switch {
	case i >= 0:
		return b.files[i], true
	case b.spread != "":
		return file{text: reference(b.spread, name)}, true
	}
	return file{}, false
}

// mode is what the kubelet makes of a Secret's: with an fsGroup, the group may read.
func (w *Workload) mode(mode int64) *int32 {
	if _, has, _ := unstructured.NestedFieldNoCopy(w.spec(), "securityContext", "fsGroup"); has {
		mode |= 0o440
	}
	return fileMode(mode | 0o400)
}

// nested reports mounts inside of a volume that is a Connection now.
func (m *pods) nested(w *Workload, volume string) {
	for _, c := range w.containers() {
		mounts := objects(c.content["volumeMounts"])
		for _, outer := range mounts {
			at, _ := outer["mountPath"].(string)
			if outer["name"] != volume || at == "" {
				continue
			}
			for _, inner := range mounts {
				below, _ := inner["mountPath"].(string)
				if strings.HasPrefix(below, strings.TrimSuffix(at, "/")+"/") {
					m.note(NoEqual, w.called, "container "+c.name, "%s lies inside of %s, where nothing can be mounted any more: mount both "+
						"below an emptyDir, or beside each other", below, at)
				}
			}
		}
	}
}

// environment reports what a Secret that is not synced any more was needed for beside volumes.
func (m *pods) environment(w *Workload) {
	const cure = "Sallyport puts nothing into the environment of a process: have the program read the files of Connection %s, or leave %s in " +
		"place for it"
	for _, c := range w.containers() {
		var names []string
		var of *bundle
		for _, variable := range objects(c.content["env"]) {
			name, _ := variable["name"].(string)
			secret, _, _ := unstructured.NestedString(variable, "valueFrom", "secretKeyRef", "name")
			if found := m.secrets[key{w.namespace, secret}]; found != nil {
				names, of = append(names, name), found
			}
		}
		if of != nil {
			of.wanted = true
			m.note(NoEqual, w.called, "container "+c.name+", env "+strings.Join(names, ", "), cure, of.name, of.of)
		}
		for _, from := range objects(c.content["envFrom"]) {
			secret, _, _ := unstructured.NestedString(from, "secretRef", "name")
			if of := m.secrets[key{w.namespace, secret}]; of != nil {
				of.wanted = true
				m.note(NoEqual, w.called, "container "+c.name+", envFrom "+secret, cure, of.name, of.of)
			}
		}
	}
	for _, pull := range objects(w.spec()["imagePullSecrets"]) {
		name, _ := pull["name"].(string)
		if of := m.secrets[key{w.namespace, name}]; of != nil {
			m.note(NoEqual, w.called, "imagePullSecrets", "the kubelet reads it from Secret %s: leave %s in place for it", name, of.of)
		}
	}
	for name := range w.annotations() {
		m.reloader(w, name)
	}
	for name := range w.Object.GetAnnotations() {
		m.reloader(w, name)
	}
}

// reloader reports annotations by which another controller rolls a workload when a Secret changes.
func (m *pods) reloader(w *Workload, annotation string) {
	if w.changed && strings.Contains(annotation, "reloader.stakater.com/") {
		m.note(Elsewhere, w.called, "annotation "+annotation, "no Secret changes any more: annotate the workload with "+
			"sallyport.dev/restart-on-change if the program reads its files only at start")
	}
}

// elsewhere reports what an object without a pod template that is known here needs of what was migrated, and returns
// how many agents it asks for.
func (m *pods) elsewhere(object *unstructured.Unstructured) int {
	switch kind := object.GroupVersionKind().GroupKind(); {
	case kind == schema.GroupKind{Group: "networking.k8s.io", Kind: "Ingress"}:
		m.ingress(object)
		return 0
	case kind == rolloutOfArgo:
		m.rollout(object)
		return 0
	case slices.Contains([]string{groupCSI, groupESO, groupESOMakes, groupVSO}, kind.Group):
		return 0
	}
	return m.mentions(called(object), "", object.GetNamespace(), object.Object)
}

// unlisted does the same for what the objects of unknown kinds have made, and returns how many agents they ask for.
func (m *pods) unlisted() int {
	for _, kind := range m.in.unread {
		m.note(NoEqual, "every "+kind, "", "you may not list them, so that none was read: give their manifests with -f, or run this as somebody "+
			"who may")
	}
	agents := 0
	for _, object := range m.in.owned {
		owner := metav1.GetControllerOf(object)
		of := owner.Kind + " " + key{object.GetNamespace(), owner.Name}.String()
		agents += m.mentions(of, "its "+object.GetKind(), object.GetNamespace(), object.Object)
	}
	return agents
}

// mentions reports where an object of a kind that this command does not know asks for what was migrated, and returns
// how many agents it asks for.
func (m *pods) mentions(of, at, namespace string, value any) int {
	agents := 0
	switch value := value.(type) {
	case []any:
		for i, item := range value {
			agents += m.mentions(of, fmt.Sprintf("%s[%d]", at, i), namespace, item)
		}
	case map[string]any:
		for _, found := range m.mentioned(namespace, value) {
			found.wanted = true
			m.note(NoEqual, of, at, "this command does not change objects of such a kind: mount Connection %s in the pods that it makes, or leave %s "+
				"in place for it", found.name, found.of)
		}
		if on, err := strconv.ParseBool(fmt.Sprint(value[annotationInject])); err == nil && on {
			m.note(NoEqual, of, at, "this command does not change objects of such a kind: it was left to the injector")
			agents++
		}
		for _, name := range slices.Sorted(maps.Keys(value)) {
			if below := strings.TrimPrefix(at+"."+name, "."); !strings.HasSuffix(below, "metadata.managedFields") {
				agents += m.mentions(of, below, namespace, value[name])
			}
		}
	}
	return agents
}

// mentioned are the bundles that stand for what a part of an object refers to, in the words of a pod's spec.
func (m *pods) mentioned(namespace string, content map[string]any) []*bundle {
	names := []any{content["secretName"]}
	for _, field := range []string{"secret", "secretKeyRef", "secretRef"} {
		name, _, _ := unstructured.NestedFieldNoCopy(content, field, "name")
		names = append(names, name)
	}
	for _, pull := range objects(content["imagePullSecrets"]) {
		names = append(names, pull["name"])
	}
	var found []*bundle
	for _, named := range names {
		name, _ := named.(string)
		if of := m.secrets[key{namespace, name}]; of != nil {
			found = append(found, of)
		}
	}
	if content["driver"] == driverCSI {
		name, _, _ := unstructured.NestedString(content, "volumeAttributes", "secretProviderClass")
		if of := m.classes[key{namespace, name}]; of != nil {
			found = append(found, of)
		}
	}
	return found
}

// rollout reports what a Rollout without a pod template of its own needs of the object that has it.
func (m *pods) rollout(object *unstructured.Unstructured) {
	reference, _, _ := unstructured.NestedStringMap(object.Object, "spec", "workloadRef")
	if reference["name"] == "" {
		return
	}
	to := key{object.GetNamespace(), reference["name"]}
	if m.restarts[target{rolloutOfArgo.Kind, key{object.GetNamespace(), object.GetName()}}] {
		m.note(Elsewhere, called(object), "", "annotate it with sallyport.dev/restart-on-change: its pod template is that of %s %s", reference["kind"], to)
	}
	kind := schema.FromAPIVersionAndKind(reference["apiVersion"], reference["kind"]).GroupKind()
	if !slices.ContainsFunc(m.in.objects, func(o *unstructured.Unstructured) bool { return is(o, kind, to) }) {
		m.note(Elsewhere, called(object), "spec.workloadRef", "its pod template is that of %s %s, which is not among the manifests: give it with -f too",
			reference["kind"], to)
	}
}

// ingress reports an Ingress whose certificate was a synced Secret.
func (m *pods) ingress(object *unstructured.Unstructured) {
	tls, _, _ := unstructured.NestedFieldNoCopy(object.Object, "spec", "tls")
	for _, entry := range objects(tls) {
		name, _ := entry["secretName"].(string)
		if of := m.secrets[key{object.GetNamespace(), name}]; of != nil {
			m.note(NoEqual, called(object), "spec.tls", "the ingress controller reads its certificate from Secret %s: leave %s in place for it", name, of.of)
		}
	}
}
