package vault

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strconv"
	"time"

	"sallyport.dev/sallyport/internal/fault"

	"sallyport.dev/sallyport/api/v1alpha1"
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

// Metadata reads the metadata of a KV version 2 secret and its versions. Source: GET engine/metadata/path. Errors are faults; SecretNotFound
// if there is no secret at the path.
func (s *Session) Metadata(ctx context.Context, location Location) (*Metadata, error) {
	var metadata *Metadata
	err := s.do(ctx, func(ctx context.Context, current *identity) error {
		of, err := s.locateVersioned(ctx, current, location)
		if err != nil {
			return err
		}
		r := s.get(of.metadataPath(), current)
		a, err := current.link.call(ctx, r)
		if err != nil {
			return of.explain(notFoundIn(r, a, of, err))
		}
		metadata = newMetadata(a.Data)
		metadata.Path, metadata.RequestID = of.metadataPath(), a.RequestID
		return nil
	})
	if err != nil {
		return nil, err
	}
	return metadata, nil
}

// WriteMetadata sets metadata; custom metadata is replaced as a whole where some is given. Source: POST engine/metadata/path.
func (s *Session) WriteMetadata(ctx context.Context, location Location, change MetadataChange) (*Written, error) {
	return s.changeMetadata(ctx, http.MethodPost, `"create" and "update"`, location, change.body())
}

// PatchMetadata changes what is given and leaves the rest. The secret must exist. Source: PATCH engine/metadata/path.
func (s *Session) PatchMetadata(ctx context.Context, location Location, change MetadataChange) (*Written, error) {
	return s.changeMetadata(ctx, http.MethodPatch, `"patch"`, location, change.body())
}

// DeleteMetadata removes a secret with all of its versions for good. Source: DELETE engine/metadata/path.
func (s *Session) DeleteMetadata(ctx context.Context, location Location) (*Written, error) {
	return s.changeMetadata(ctx, http.MethodDelete, `"delete"`, location, nil)
}

func (s *Session) changeMetadata(
	ctx context.Context, method, capability string, location Location, body map[string]any,
) (*Written, error) {
	var written *Written
	err := s.do(ctx, func(ctx context.Context, current *identity) error {
		of, err := s.locateVersioned(ctx, current, location)
		if err != nil {
			return err
		}
		r := request{method: method, path: of.metadataPath(), token: &current.token, capability: capability, as: s.as()}
		if body != nil {
			r.body = body
		}
		a, err := current.link.call(ctx, r)
		if err != nil {
			return of.explain(notFoundIn(r, a, of, err))
		}
		written = &Written{Path: of.metadataPath(), RequestID: a.RequestID}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return written, nil
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

func newMetadata(data map[string]any) *Metadata {
	metadata := &Metadata{
		CreatedTime:    timestamp(data["created_time"]),
		UpdatedTime:    timestamp(data["updated_time"]),
		CurrentVersion: number(data["current_version"]),
		OldestVersion:  number(data["oldest_version"]),
		MaxVersions:    number(data["max_versions"]),
	}
	metadata.CASRequired, _ = data["cas_required"].(bool)
	after, _ := data["delete_version_after"].(string)
	metadata.DeleteVersionAfter, _ = time.ParseDuration(after) // zero if Vault does not say
	if custom, _ := data["custom_metadata"].(map[string]any); len(custom) > 0 {
		metadata.Custom = make(map[string]string, len(custom))
		for key, value := range custom {
			metadata.Custom[key], _ = value.(string)
		}
	}
	versions, _ := data["versions"].(map[string]any)
	for name, value := range versions {
		of, _ := value.(map[string]any)
		version := Version{CreatedTime: timestamp(of["created_time"]), DeletionTime: timestamp(of["deletion_time"])}
		version.Number, _ = strconv.ParseInt(name, 10, 64)
		version.Destroyed, _ = of["destroyed"].(bool)
		metadata.Versions = append(metadata.Versions, version)
	}
	slices.SortFunc(metadata.Versions, func(a, b Version) int { return cmp.Compare(b.Number, a.Number) })
	return metadata
}

func timestamp(value any) time.Time {
	text, _ := value.(string)
	parsed, _ := time.Parse(time.RFC3339Nano, text) // zero if Vault does not say
	return parsed
}

// RequireVersions returns a fault if the secret has none of these numbers. Vault itself accepts any number, and does nothing.
func (m *Metadata) RequireVersions(versions []int64) error {
	for _, wanted := range versions {
		if !slices.ContainsFunc(m.Versions, func(v Version) bool { return v.Number == wanted }) {
			return fault.Terminal(v1alpha1.ReasonSecretNotFound,
				"%s has no version %d, the versions that it keeps are %s; name one of those", m.Path, wanted, m.span())
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
