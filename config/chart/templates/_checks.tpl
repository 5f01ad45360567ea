{{- /*
What would fail later, or half-way, is refused before anything is changed, in one sentence that says what to do. `helm template` has
no cluster to ask; there these checks find nothing.
*/ -}}
{{- define "sallyport.checks" -}}
{{- if semverCompare "<1.32.0-0" (include "sallyport.kubernetes" .) -}}
{{- fail (printf "Kubernetes %s is too old: Sallyport needs 1.32 or newer; upgrade the cluster, or correct compat.kubernetes" (include "sallyport.kubernetes" .)) -}}
{{- end -}}
{{- if and .Values.injection.enabled (semverCompare "<1.36.0-0" (include "sallyport.kubernetes" .)) -}}
{{- fail (printf "injection.enabled needs Kubernetes 1.36 or newer, which has MutatingAdmissionPolicy, and this is %s: leave it off, and start sallyport-exec in the pods' manifests" (include "sallyport.kubernetes" .)) -}}
{{- end -}}
{{- if and .Values.metrics.rules.enabled (not .Values.metrics.enabled) -}}
{{- fail "metrics.rules.enabled needs metrics.enabled: without the controller's metrics an alert would say for ever that no controller runs" -}}
{{- end -}}
{{- if and .Values.metrics.secure.enabled (not .Values.metrics.enabled) -}}
{{- fail "metrics.secure.enabled needs metrics.enabled: there are no metrics of the controller to protect" -}}
{{- end -}}
{{- if eq .Values.node.namespace .Release.Namespace -}}
{{- fail (printf "node.namespace is %s, that of the release: name another one, which the chart makes, or leave it empty" .Release.Namespace) -}}
{{- end -}}
{{- if and (lookup "v1" "Namespace" "" "kube-system") (not .Values.adopt) -}}
{{- include "sallyport.onlyOne" . -}}
{{- end -}}
{{- if lookup "v1" "Namespace" "" "kube-system" -}}
{{- include "sallyport.prerequisites" . -}}
{{- end -}}
{{- end -}}

{{- /* A cluster has one Sallyport: its driver, roles and policies have the cluster's names. */ -}}
{{- define "sallyport.onlyOne" -}}
{{- $this := printf "%s/%s" .Release.Namespace .Release.Name -}}
{{- with lookup "storage.k8s.io/v1" "CSIDriver" "" "csi.sallyport.dev" -}}
{{- $annotations := .metadata.annotations | default dict -}}
{{- $owner := printf "%s/%s" (get $annotations "meta.helm.sh/release-namespace") (get $annotations "meta.helm.sh/release-name") -}}
{{- if eq $owner "/" -}}
{{- $where := "an unknown namespace" -}}
{{- range (lookup "rbac.authorization.k8s.io/v1" "ClusterRoleBinding" "" "sallyport-controller").subjects -}}
{{- $where = printf "namespace %s" .namespace -}}
{{- end -}}
{{- fail (printf "this cluster has a Sallyport already, installed by manifests in %s, and can have one only: delete that one first, or take it over, into the same namespace, with --take-ownership --force-conflicts --set adopt=true" $where) -}}
{{- else if ne $owner $this -}}
{{- fail (printf "this cluster has a Sallyport already, the Helm release %s in namespace %s, and can have one only: upgrade that one, or uninstall it first" (get $annotations "meta.helm.sh/release-name") (get $annotations "meta.helm.sh/release-namespace")) -}}
{{- end -}}
{{- else -}}
{{- with lookup "apiextensions.k8s.io/v1" "CustomResourceDefinition" "" "vaultconfigs.sallyport.dev" -}}
{{- $annotations := .metadata.annotations | default dict -}}
{{- $owner := printf "%s/%s" (get $annotations "meta.helm.sh/release-namespace") (get $annotations "meta.helm.sh/release-name") -}}
{{- if and $.Values.crds.install (ne $owner $this) -}}
{{- fail (printf "the CRDs of an earlier installation are there (%s), and stay with all their objects: take them over with --take-ownership --force-conflicts --set adopt=true, or leave them to whoever upgrades them with --set crds.install=false" (ternary "by manifests" (printf "by the Helm release %s" $owner) (eq $owner "/"))) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "sallyport.prerequisites" -}}
{{- if and (not .Values.crds.install) (not (lookup "apiextensions.k8s.io/v1" "CustomResourceDefinition" "" "vaultconfigs.sallyport.dev")) -}}
{{- fail "the CRDs are missing, and crds.install is false: apply crds.yaml of this release first, or leave crds.install at true" -}}
{{- end -}}
{{- range (lookup "apps/v1" "DaemonSet" "" "").items -}}
{{- if and (eq .metadata.name "sallyport-node") (ne .metadata.namespace (include "sallyport.nodeNamespace" $)) -}}
{{- fail (printf "the node plugin is in namespace %s, and two on one node would take the driver's socket from each other: leave node.namespace as it is, or uninstall Sallyport and install it anew" .metadata.namespace) -}}
{{- end -}}
{{- end -}}
{{- with lookup "v1" "Namespace" "" (include "sallyport.nodeNamespace" .) -}}
{{- $enforce := get (.metadata.labels | default dict) "pod-security.kubernetes.io/enforce" -}}
{{- if and (has $enforce (list "baseline" "restricted")) (not $.Values.node.namespace) -}}
{{- fail (printf "namespace %s enforces the Pod Security Standard %s, and the node plugin is privileged because it mounts: give it a namespace of its own with --set node.namespace=sallyport-node, or kubectl label namespace %s pod-security.kubernetes.io/enforce=privileged --overwrite" $.Release.Namespace $enforce $.Release.Namespace) -}}
{{- end -}}
{{- end -}}
{{- range .Values.rbac.namespaces -}}
{{- if not (lookup "v1" "Namespace" "" .) -}}
{{- fail (printf "rbac.namespaces names %s, and there is no such namespace: kubectl create namespace %s, or correct the value" . .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
