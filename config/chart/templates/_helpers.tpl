{{- define "sallyport.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "sallyport.labels" -}}
app.kubernetes.io/name: sallyport
app.kubernetes.io/component: {{ . }}
{{- end -}}

{{- define "sallyport.nodeNamespace" -}}
{{ .Values.node.namespace | default .Release.Namespace }}
{{- end -}}

{{- /* The version of Kubernetes that the manifests are for. */ -}}
{{- define "sallyport.kubernetes" -}}
{{ .Values.compat.kubernetes | default .Capabilities.KubeVersion.Version | trimPrefix "v" }}
{{- end -}}

{{- /* The flags that both modes have; those with the program's own default are left out. */ -}}
{{- define "sallyport.logArgs" -}}
{{- with .Values.log -}}
{{- if ne (toString .level) "info" }}
- --zap-log-level={{ .level }}
{{- end }}
{{- if ne .format "json" }}
- --zap-encoder={{ .format }}
{{- end }}
{{- if ne .timeEncoding "rfc3339" }}
- --zap-time-encoding={{ .timeEncoding }}
{{- end }}
{{- if ne .stacktraceLevel "error" }}
- --zap-stacktrace-level={{ .stacktraceLevel }}
{{- end }}
{{- end -}}
{{- end -}}

{{- /* What the variables of OpenTelemetry say, in both modes. */ -}}
{{- define "sallyport.tracingEnv" -}}
{{- with .Values.tracing -}}
{{- if .endpoint }}
- name: OTEL_EXPORTER_OTLP_ENDPOINT
  value: {{ .endpoint | quote }}
{{- if ne .protocol "grpc" }}
- name: OTEL_EXPORTER_OTLP_PROTOCOL
  value: {{ .protocol | quote }}
{{- end }}
{{- if ne (toString .ratio) "0.1" }}
- name: OTEL_TRACES_SAMPLER
  value: parentbased_traceidratio
- name: OTEL_TRACES_SAMPLER_ARG
  value: {{ .ratio | quote }}
{{- end }}
{{- end }}
{{- end -}}
{{- end -}}

{{- define "sallyport.controllerArgs" -}}
- controller
{{- with .Values.controller.allowedVaultURLs }}
- --allowed-vault-urls={{ join "," . }}
{{- end }}
{{- with .Values.controller.allowedProxyURLs }}
- --allowed-proxy-urls={{ join "," . }}
{{- end }}
{{- with .Values.controller.allowedVaultNetworks }}
- --allowed-vault-networks={{ join "," . }}
{{- end }}
{{- range $flag, $of := dict "vault-requests-per-second" (list "vaultRequestsPerSecond" 1000) "vault-burst" (list "vaultBurst" 1000) "kube-api-qps" (list "kubeAPIQPS" 500) "kube-api-burst" (list "kubeAPIBurst" 1000) }}
{{- $value := int64 (get $.Values.controller (first $of)) }}
{{- if ne $value (int64 (last $of)) }}
- --{{ $flag }}={{ $value }}
{{- end }}
{{- end }}
{{- if not .Values.controller.leaderElect }}
- --leader-elect=false
{{- end }}
{{- if not .Values.metrics.enabled }}
- --metrics-bind-address=0
{{- end }}
{{- with .Values.metrics.secure }}
{{- if .enabled }}
- --metrics-secure
{{- if .certificateSecret }}
- --metrics-cert-dir=/var/run/secrets/sallyport-metrics
{{- end }}
{{- end }}
{{- end }}
{{- with .Values.node.namespace }}
- --node-service-account={{ . }}/sallyport-node
{{- end }}
{{- include "sallyport.logArgs" . }}
{{- with .Values.controller.extraArgs }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "sallyport.nodeArgs" -}}
- node
{{- if ne .Values.node.kubeletDir "/var/lib/kubelet" }}
- --kubelet-dir={{ .Values.node.kubeletDir }}
{{- end }}
{{- with .Values.node.memoryBudget }}
- --memory-budget={{ int64 . }}
{{- end }}
{{- if .Values.node.removeStartupTaint }}
- --remove-startup-taint
{{- end }}
{{- include "sallyport.logArgs" . }}
{{- with .Values.node.extraArgs }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- /*
A file of config/ as it is for kustomize, in the release's namespace. Chart and kustomize have these files in common: files/ links to
them, and `make release` packs them.
*/ -}}
{{- define "sallyport.file" -}}
{{ .root.Files.Get .path | trimPrefix "---\n" | replace "namespace: sallyport-system" (printf "namespace: %s" .root.Release.Namespace) }}
{{- end -}}
