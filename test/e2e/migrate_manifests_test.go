package e2e

// Manifests of the shape that other ways from Vault into pods have, for the tenant: ${NAMESPACE}, with ${VAULT},
// ${AUTH} (the kubernetes method that accepts service account web), ${DATABASE}, ${PKI} (an intermediate authority) and
// ${ROOT}. ${RUN} is a container's image and program.

// ofProviderClass is a SecretProviderClass with static and dynamic secrets, and a Secret that is synced from it.
const ofProviderClass = `
apiVersion: secrets-store.csi.x-k8s.io/v1
kind: SecretProviderClass
metadata: {name: webshop, namespace: ${NAMESPACE}}
spec:
  provider: vault
  parameters:
    roleName: apps
    vaultAddress: ${VAULT}
    vaultKubernetesMountPath: ${AUTH}
    vaultCACertPath: /etc/vault/ca.crt
    objects: |
      - objectName: db-password
        secretPath: secret/data/${NAMESPACE}/db
        secretKey: password
      - objectName: db-user
        secretPath: secret/data/${NAMESPACE}/db
        secretKey: user.name
        filePermission: 0400
      - objectName: keystore.p12
        secretPath: secret/data/${NAMESPACE}/keystore
        secretKey: p12
        encoding: base64
      - objectName: username
        secretPath: ${DATABASE}/creds/lasting
        secretKey: username
      - objectName: password
        secretPath: ${DATABASE}/creds/lasting
        secretKey: password
  secretObjects:
  - secretName: webshop-db
    type: Opaque
    data:
    - {objectName: db-password, key: pass}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: webshop, namespace: ${NAMESPACE}}
spec:
  selector: {matchLabels: {app: webshop}}
  template:
    metadata: {labels: {app: webshop}}
    spec:
      serviceAccountName: web
      terminationGracePeriodSeconds: 1
      containers:
      - name: app
        ${RUN}
        volumeMounts:
        - {name: vault, mountPath: /mnt/secrets-store, readOnly: true}
        - {name: synced, mountPath: /etc/webshop}
      volumes:
      - name: vault
        csi:
          driver: secrets-store.csi.k8s.io
          readOnly: true
          volumeAttributes: {secretProviderClass: webshop}
      - name: synced
        secret: {secretName: webshop-db}
`

// ofVaultSecrets are objects of the Vault Secrets Operator: the namespace's default login, a static secret as it is and
// by a template, database users, and certificates of an intermediate authority and of a root.
const ofVaultSecrets = `
apiVersion: secrets.hashicorp.com/v1beta1
kind: VaultConnection
metadata: {name: default, namespace: ${NAMESPACE}}
spec: {address: "${VAULT}", caCertSecretRef: vault-cacert, skipTLSVerify: false}
---
apiVersion: secrets.hashicorp.com/v1beta1
kind: VaultAuth
metadata: {name: default, namespace: ${NAMESPACE}}
spec:
  method: kubernetes
  mount: ${AUTH}
  kubernetes: {role: apps, serviceAccount: web, audiences: [vault], tokenExpirationSeconds: 600}
---
apiVersion: secrets.hashicorp.com/v1beta1
kind: VaultStaticSecret
metadata: {name: shop-db, namespace: ${NAMESPACE}}
spec:
  type: kv-v2
  mount: secret
  path: ${NAMESPACE}/db
  refreshAfter: 30s
  hmacSecretData: true
  destination: {name: shop-db, create: true}
  rolloutRestartTargets: [{kind: Deployment, name: shop}]
---
apiVersion: secrets.hashicorp.com/v1beta1
kind: VaultStaticSecret
metadata: {name: shop-config, namespace: ${NAMESPACE}}
spec:
  type: kv-v2
  mount: secret
  path: ${NAMESPACE}/db
  destination:
    name: shop-config
    create: true
    transformation:
      excludes: [".*"]
      resync: true
      templates:
        application.properties:
          text: |
            datasource.username={{ get .Secrets "user.name" }}
            datasource.password={{ .Secrets.password | b64enc }}
---
apiVersion: secrets.hashicorp.com/v1beta1
kind: VaultDynamicSecret
metadata: {name: orders, namespace: ${NAMESPACE}}
spec:
  mount: ${DATABASE}
  path: creds/lasting
  renewalPercent: 67
  destination: {name: orders, create: true}
---
apiVersion: secrets.hashicorp.com/v1beta1
kind: VaultPKISecret
metadata: {name: tls, namespace: ${NAMESPACE}}
spec:
  mount: ${PKI}
  role: shop
  commonName: shop.example.com
  altNames: [www.example.com]
  ttl: 1h
  format: pem
  destination: {name: tls, create: true, type: kubernetes.io/tls}
---
apiVersion: secrets.hashicorp.com/v1beta1
kind: VaultPKISecret
metadata: {name: plain-tls, namespace: ${NAMESPACE}}
spec:
  mount: ${ROOT}
  role: shop
  commonName: shop.example.com
  destination: {name: plain-tls, create: true, type: kubernetes.io/tls}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: shop, namespace: ${NAMESPACE}}
spec:
  selector: {matchLabels: {app: shop}}
  template:
    metadata: {labels: {app: shop}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: app
        ${RUN}
        volumeMounts:
        - {name: db, mountPath: /etc/db}
        - {name: config, mountPath: /app/application.properties, subPath: application.properties}
        - {name: orders, mountPath: /etc/orders}
        - {name: tls, mountPath: /etc/tls}
        - {name: plain-tls, mountPath: /etc/plain-tls}
      volumes:
      - {name: db, secret: {secretName: shop-db}}
      - {name: config, secret: {secretName: shop-config}}
      - {name: orders, secret: {secretName: orders}}
      - {name: tls, secret: {secretName: tls}}
      - {name: plain-tls, secret: {secretName: plain-tls}}
`

// ofExternalSecrets are objects of the External Secrets Operator, with the defaults that its API server sets: keys by
// name, a template, a key that is decoded, and all of a secret.
const ofExternalSecrets = `
apiVersion: external-secrets.io/v1
kind: SecretStore
metadata: {name: bookshop, namespace: ${NAMESPACE}}
spec:
  provider:
    vault:
      server: ${VAULT}
      path: secret
      version: v2
      caProvider: {type: ConfigMap, name: vault-ca, key: ca.crt}
      auth: {tokenSecretRef: {name: vault-token, key: token}}
---
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata: {name: books, namespace: ${NAMESPACE}}
spec:
  refreshInterval: 15s
  secretStoreRef: {name: bookshop, kind: SecretStore}
  target:
    creationPolicy: Owner
    deletionPolicy: Retain
    nullBytePolicy: Ignore
    template:
      engineVersion: v2
      mergePolicy: Merge
      data:
        config.json: '{"user":{{ .user | toJson }},"password":{{ .pass | toJson }}}'
  data:
  - secretKey: user
    remoteRef: {key: "${NAMESPACE}/db", property: username, conversionStrategy: Default, decodingStrategy: None, metadataPolicy: None, nullBytePolicy: Ignore}
  - secretKey: pass
    remoteRef: {key: "${NAMESPACE}/db", property: password}
---
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata: {name: keystore, namespace: ${NAMESPACE}}
spec:
  secretStoreRef: {name: bookshop}
  data:
  - secretKey: keystore.p12
    remoteRef: {key: "secret/data/${NAMESPACE}/keystore", property: p12, decodingStrategy: Base64}
  - secretKey: alias
    remoteRef: {key: "${NAMESPACE}/keystore", property: meta.alias}
---
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata: {name: all, namespace: ${NAMESPACE}}
spec:
  secretStoreRef: {name: bookshop}
  dataFrom:
  - extract: {key: "${NAMESPACE}/db"}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: books, namespace: ${NAMESPACE}}
spec:
  selector: {matchLabels: {app: books}}
  template:
    metadata: {labels: {app: books}}
    spec:
      terminationGracePeriodSeconds: 1
      securityContext: {fsGroup: 1000}
      containers:
      - name: app
        ${RUN}
        volumeMounts:
        - {name: books, mountPath: /etc/books}
        - {name: keystore, mountPath: /etc/keystore}
        - {name: all, mountPath: /etc/all}
        - {name: login, mountPath: /etc/login}
      volumes:
      - {name: books, secret: {secretName: books}}
      - {name: keystore, secret: {secretName: keystore}}
      - {name: all, secret: {secretName: all, defaultMode: 420}}
      - name: login
        projected:
          sources:
          - secret: {name: all, items: [{key: password, path: db/pass, mode: 0400}]}
`

// ofInjector is a Deployment for Vault's agent injector: a file that a shell reads, a text, a certificate elsewhere.
const ofInjector = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: orders, namespace: ${NAMESPACE}}
spec:
  selector: {matchLabels: {app: orders}}
  template:
    metadata:
      labels: {app: orders}
      annotations:
        prometheus.io/scrape: "true"
        vault.hashicorp.com/agent-inject: "true"
        vault.hashicorp.com/role: apps
        vault.hashicorp.com/service: ${VAULT}
        vault.hashicorp.com/auth-path: auth/${AUTH}
        vault.hashicorp.com/tls-secret: vault-cacert
        vault.hashicorp.com/ca-cert: /vault/tls/ca.crt
        vault.hashicorp.com/agent-inject-secret-Env: secret/data/${NAMESPACE}/db
        vault.hashicorp.com/agent-inject-file-Env: db.env
        vault.hashicorp.com/agent-inject-template-Env: |
          {{- with secret "secret/data/${NAMESPACE}/db" -}}
          export DB_USER={{ index .Data.data "user.name" }}
          export DB_PASSWORD={{ .Data.data.password | base64Encode }}
          {{- end }}
        vault.hashicorp.com/agent-inject-secret-url: secret/data/${NAMESPACE}/db
        vault.hashicorp.com/agent-inject-perms-url: "0400"
        vault.hashicorp.com/agent-inject-template-url: >-
          {{ with secret "secret/data/${NAMESPACE}/db" }}postgres://{{ .Data.data.username }}:{{ .Data.data.password }}@db/orders{{ end }}
        vault.hashicorp.com/agent-inject-secret-tls.pem: ${PKI}/issue/shop
        vault.hashicorp.com/secret-volume-path-tls.pem: /etc/tls
        vault.hashicorp.com/agent-inject-template-tls.pem: |
          {{ with pkiCert "${PKI}/issue/shop" "common_name=orders.example.com" "ttl=1h" }}{{ .Data.Cert }}
          {{ .Data.Key }}{{ end }}
    spec:
      serviceAccountName: web
      terminationGracePeriodSeconds: 1
      containers:
      - name: app
        ${RUN}
`
