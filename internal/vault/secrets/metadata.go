package secrets

import (
	"cmp"
	"context"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/printable"
	"sallyport.dev/sallyport/internal/vault/session"
	"sallyport.dev/sallyport/internal/vault/transport"
)

// Metadata is what a KV version 2 engine knows of a secret. It holds no value.
type Metadata struct {
	CreatedTime, UpdatedTime      time.Time
	CurrentVersion, OldestVersion int64
	MaxVersions                   int64
	CASRequired                   bool
	DeleteVersionAfter            time.Duration
	Custom                        map[string]string
	// Versions, the newest first.
	Versions []Version
	// Path of the metadata, engine included: secret/metadata/oracle.
	Path string
	// RequestID is Vault's ID of the request, to be found in its audit log.
	RequestID string
}

// Version is one version of a KV version 2 secret.
type Version struct {
	Number                    int64
	CreatedTime, DeletionTime time.Time
	Destroyed                 bool
}

// MetadataChange is what to set; nil stays as it is.
type MetadataChange struct {
	MaxVersions        *int64
	CASRequired        *bool
	DeleteVersionAfter *time.Duration
	// Custom metadata; a nil value removes a key, in PatchMetadata.
	Custom map[string]*string
}

// ReadMetadata reads the metadata of a KV version 2 secret and its versions. Source: GET engine/metadata/path. Errors
// are faults; SecretNotFound if there is no secret at the path.
func ReadMetadata(ctx context.Context, s *session.Session, location Location) (*Metadata, error) {
	return at(ctx, s, locateVersioned, location, func(
		ctx context.Context, conn *session.Conn, of kvPath,
	) (*Metadata, error) {
		r := newRequest(conn, http.MethodGet, of.metadataPath(), `"read"`)
		response, err := conn.Call(ctx, r)
		if err != nil {
			return nil, of.explain(explainNotFound(r, response, of, err))
		}
		metadata := newMetadata(response.Data)
		metadata.Path, metadata.RequestID = of.metadataPath(), response.RequestID
		return metadata, nil
	})
}

// WriteMetadata sets metadata; custom metadata is replaced as a whole where some is given. Source: POST
// engine/metadata/path.
func WriteMetadata(ctx context.Context, s *session.Session, location Location, set MetadataChange) (*Written, error) {
	return changeMetadata(ctx, s, location, set.body(), http.MethodPost, `"create" and "update"`)
}

// PatchMetadata changes what is given and leaves the rest. The secret must exist. Source: PATCH engine/metadata/path.
func PatchMetadata(ctx context.Context, s *session.Session, location Location, set MetadataChange) (*Written, error) {
	return changeMetadata(ctx, s, location, set.body(), http.MethodPatch, `"patch"`)
}

// DeleteMetadata removes a secret with all of its versions for good. Source: DELETE engine/metadata/path.
func DeleteMetadata(ctx context.Context, s *session.Session, location Location) (*Written, error) {
	return changeMetadata(ctx, s, location, nil, http.MethodDelete, `"delete"`)
}

func changeMetadata(
	ctx context.Context, s *session.Session, location Location, body map[string]any, method, capability string,
) (*Written, error) {
	return change(ctx, s, locateVersioned, location, func(conn *session.Conn, of kvPath) (transport.Request, string) {
		r := newRequest(conn, method, of.metadataPath(), capability)
		if body != nil {
			r.Body = body
		}
		return r, of.metadataPath()
	})
}

func (c MetadataChange) body() map[string]any {
	body := map[string]any{}
	if c.MaxVersions != nil {
		body["max_versions"] = *c.MaxVersions
	}
	if c.CASRequired != nil {
		body["cas_required"] = *c.CASRequired
	}
	if c.DeleteVersionAfter != nil {
		body["delete_version_after"] = c.DeleteVersionAfter.String()
	}
	if c.Custom != nil {
		body["custom_metadata"] = c.Custom
	}
	return body
}

// Vault's own limits of custom metadata, which are those of status.
const (
	maxCustom      = 64
	maxCustomKey   = 128
	maxCustomValue = 512
)

func newMetadata(data map[string]any) *Metadata {
	metadata := &Metadata{
		CreatedTime:    transport.Timestamp(data["created_time"]),
		UpdatedTime:    transport.Timestamp(data["updated_time"]),
		CurrentVersion: transport.Number(data["current_version"]),
		OldestVersion:  transport.Number(data["oldest_version"]),
		MaxVersions:    transport.Number(data["max_versions"]),
	}
	metadata.CASRequired, _ = data["cas_required"].(bool)
	after, _ := data["delete_version_after"].(string)
	metadata.DeleteVersionAfter, _ = time.ParseDuration(after) // zero if Vault does not say
	if custom, _ := data["custom_metadata"].(map[string]any); len(custom) > 0 {
		metadata.Custom = map[string]string{}
		for _, key := range slices.Sorted(maps.Keys(custom))[:min(len(custom), maxCustom)] {
			text, _ := custom[key].(string)
			metadata.Custom[printable.Text(key, maxCustomKey)] = printable.Text(text, maxCustomValue)
		}
	}
	versions, _ := data["versions"].(map[string]any)
	for name, value := range versions {
		of, _ := value.(map[string]any)
		version := Version{
			CreatedTime: transport.Timestamp(of["created_time"]), DeletionTime: transport.Timestamp(of["deletion_time"]),
		}
		version.Number, _ = strconv.ParseInt(name, 10, 64)
		if version.Number < 1 {
			continue
		}
		version.Destroyed, _ = of["destroyed"].(bool)
		metadata.Versions = append(metadata.Versions, version)
	}
	slices.SortFunc(metadata.Versions, func(a, b Version) int { return cmp.Compare(b.Number, a.Number) })
	return metadata
}

// RequireVersions returns a fault if the secret has none of these numbers. Vault itself accepts any number, and does
// nothing.
func (m *Metadata) RequireVersions(versions []int64) error {
	for _, wanted := range versions {
		if !slices.ContainsFunc(m.Versions, func(v Version) bool { return v.Number == wanted }) {
			return fault.Terminal(v1alpha1.ReasonSecretNotFound,
				"%s has no version %d, the versions that it keeps are %s", m.Path, wanted, m.span()).WithRemedy("name one of those")
		}
	}
	return nil
}

func (m *Metadata) span() string {
	if len(m.Versions) == 0 {
		return "none"
	}
	newest, oldest := m.Versions[0].Number, m.Versions[len(m.Versions)-1].Number
	return strconv.FormatInt(oldest, 10) + " to " + strconv.FormatInt(newest, 10)
}
