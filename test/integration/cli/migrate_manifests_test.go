package cli

// ofProviderClasses is a SecretProviderClass that leaves Vault's address to the installation, mounted by a StatefulSet
// beside other volumes, and by a CronJob.
const ofProviderClasses = `
apiVersion: secrets-store.csi.x-k8s.io/v1
kind: SecretProviderClass
metadata: {name: db}
spec:
  provider: vault
  parameters:
    roleName: ${ROLE}
    vaultKubernetesMountPath: kubernetes-of-migrate
    objects: |
      - {objectName: user, secretPath: secret/data/${ROLE}/db, secretKey: username}
      - {objectName: password, secretPath: secret/data/${ROLE}/db, secretKey: password, filePermission: 0400}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: web, labels: {team: a}}
spec:
  serviceName: web
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      serviceAccountName: web
      containers:
      - name: app
        image: registry.example.com/web:1
        volumeMounts: [{name: scratch, mountPath: /tmp}, {name: vault, mountPath: /mnt/secrets, readOnly: true}]
      volumes:
      - {name: scratch, emptyDir: {}}
      - name: vault
        csi:
          driver: secrets-store.csi.k8s.io
          readOnly: true
          nodePublishSecretRef: {name: unused}
          volumeAttributes: {secretProviderClass: db}
      - {name: config, configMap: {name: web}}
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: nightly}
spec:
  schedule: "0 3 * * *"
  jobTemplate:
    spec:
      template:
        spec:
          restartPolicy: Never
          serviceAccountName: web
          containers: [{name: app, image: a, volumeMounts: [{name: vault, mountPath: /mnt/secrets}]}]
          volumes:
          - {name: vault, csi: {driver: secrets-store.csi.k8s.io, readOnly: true, volumeAttributes: {secretProviderClass: db}}}
`

// ofVaultOperator is the default login, in the operator's own namespace.
const ofVaultOperator = `
apiVersion: secrets.hashicorp.com/v1beta1
kind: VaultConnection
metadata: {name: default, namespace: ${OPERATOR}}
spec: {address: "${VAULT}", caCertSecretRef: vault-ca}
---
apiVersion: secrets.hashicorp.com/v1beta1
kind: VaultAuth
metadata: {name: default, namespace: ${OPERATOR}}
spec:
  method: kubernetes
  mount: ${AUTH}
  kubernetes: {role: "${ROLE}", serviceAccount: web, audiences: [vault]}
`

// ofVaultSecrets are secrets that are read with the default login.
const ofVaultSecrets = `
apiVersion: secrets.hashicorp.com/v1beta1
kind: VaultStaticSecret
metadata: {name: db, namespace: ${ROLE}}
spec:
  type: kv-v2
  mount: secret
  path: ${ROLE}/db
  destination: {name: db, create: true}
  rolloutRestartTargets: [{kind: DaemonSet, name: agent}]
---
apiVersion: secrets.hashicorp.com/v1beta1
kind: VaultDynamicSecret
metadata: {name: orders, namespace: ${ROLE}}
spec: {mount: database, path: creds/orders, destination: {name: orders, create: true}}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent, namespace: ${ROLE}}
spec:
  selector: {matchLabels: {app: agent}}
  template:
    metadata: {labels: {app: agent}}
    spec:
      containers:
      - name: app
        image: registry.example.com/agent:1
        volumeMounts: [{name: db, mountPath: /etc/db}, {name: orders, mountPath: /etc/orders}, {name: other, mountPath: /etc/other}]
      volumes:
      - {name: db, secret: {secretName: db}}
      - {name: orders, secret: {secretName: orders}}
      - {name: other, secret: {secretName: of-somebody-else}}
`

// ofExternalSecrets are read by way of a store of the cluster, whose credential is in the namespace.
const ofExternalSecrets = `
apiVersion: external-secrets.io/v1
kind: ClusterSecretStore
metadata: {name: "${NAMESPACE}"}
spec:
  conditions: [{namespaces: ["${NAMESPACE}"]}]
  provider:
    vault:
      server: ${VAULT}
      path: secret
      caProvider: {type: Secret, name: vault-ca, key: ca.crt, namespace: "${NAMESPACE}"}
      auth: {tokenSecretRef: {name: vault-token, key: token, namespace: "${NAMESPACE}"}}
---
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata: {name: db}
spec:
  secretStoreRef: {kind: ClusterSecretStore, name: "${NAMESPACE}"}
  target:
    template:
      mergePolicy: Merge
      data: {url: "postgres://{{ .user }}@{{ .host }}"}
  data:
  - {secretKey: user, remoteRef: {key: "${NAMESPACE}/db", property: username}}
  - {secretKey: host, remoteRef: {key: "${NAMESPACE}/db", property: meta.host}}
---
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata: {name: all}
spec:
  secretStoreRef: {kind: ClusterSecretStore, name: "${NAMESPACE}"}
  dataFrom: [{extract: {key: "${NAMESPACE}/db"}}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: app
        image: registry.example.com/web:1
        volumeMounts: [{name: db, mountPath: /etc/db}, {name: login, mountPath: /etc/login}, {name: all, mountPath: /etc/all}]
      volumes:
      - {name: db, secret: {secretName: db}}
      - {name: login, projected: {sources: [{secret: {name: db, items: [{key: user, path: login}]}}]}}
      - {name: all, secret: {secretName: all}}
`

// ofInjector is a Deployment for the agent injector.
const ofInjector = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: orders}
spec:
  selector: {matchLabels: {app: orders}}
  template:
    metadata:
      labels: {app: orders}
      annotations:
        prometheus.io/scrape: "true"
        vault.hashicorp.com/agent-inject: "true"
        vault.hashicorp.com/role: ${ROLE}
        vault.hashicorp.com/service: ${VAULT}
        vault.hashicorp.com/auth-path: auth/${AUTH}
        vault.hashicorp.com/tls-secret: vault-ca
        vault.hashicorp.com/ca-cert: /vault/tls/ca.crt
        vault.hashicorp.com/agent-inject-secret-db.env: secret/data/${ROLE}/db
        vault.hashicorp.com/agent-inject-template-db.env: |
          {{- with secret "secret/data/${ROLE}/db" -}}
          USER={{ .Data.data.username }}
          PASSWORD={{ .Data.data.password | base64Encode }}
          {{- end }}
    spec:
      serviceAccountName: web
      initContainers: [{name: first, image: a, volumeMounts: [{name: data, mountPath: /data}]}]
      containers: [{name: app, image: a, volumeMounts: [{name: data, mountPath: /data}]}, {name: sidecar, image: b}]
      volumes: [{name: data, emptyDir: {}}]
`

// ofPodAndJob are what nobody can change: a Pod on its node, and a Job with the selector that the API server made.
const ofPodAndJob = `
apiVersion: secrets-store.csi.x-k8s.io/v1
kind: SecretProviderClass
metadata: {name: db}
spec:
  provider: vault
  parameters:
    roleName: ${ROLE}
    objects: "- {objectName: user, secretPath: secret/data/${ROLE}/db, secretKey: username}"
---
apiVersion: v1
kind: Pod
metadata: {name: once}
spec:
  nodeName: gone
  containers: [{name: app, image: a, volumeMounts: [{name: vault, mountPath: /mnt/secrets}]}]
  volumes:
  - {name: vault, csi: {driver: secrets-store.csi.k8s.io, readOnly: true, volumeAttributes: {secretProviderClass: db}}}
---
apiVersion: batch/v1
kind: Job
metadata: {name: once}
spec:
  template:
    spec:
      restartPolicy: Never
      containers: [{name: app, image: a, volumeMounts: [{name: vault, mountPath: /mnt/secrets}]}]
      volumes:
      - {name: vault, csi: {driver: secrets-store.csi.k8s.io, readOnly: true, volumeAttributes: {secretProviderClass: db}}}
`
