package vaulttask

import (
	"context"
	"fmt"
	"maps"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/printable"
	"sallyport.dev/sallyport/internal/status"
	"sallyport.dev/sallyport/internal/vault/secrets"
)

// maxKeys and maxVersions bound what of a long list is put into status.
const (
	maxKeys     = 1000
	maxKeyBytes = 64 << 10
	// maxKeyName is the longest name that status takes, in characters; nothing shorter in bytes is longer.
	maxKeyName  = 1024
	maxVersions = 100
)

// What only looks has no effect in Vault, so it is not claimed, and done again after whatever failed.

func (a *attempt) read(ctx context.Context, to *target) (*outcome, error) {
	if a.task.Spec.Version != nil {
		to.location.Version = *a.task.Spec.Version
	}
	a.called = true
	secret, err := secrets.Read(ctx, to.session, to.location)
	if err != nil {
		return nil, err
	}
	return &outcome{result: secretResult(secret), message: "read " + versioned(secret.Version, secret.Path),
		values: secret.Data}, nil
}

func (a *attempt) list(ctx context.Context, to *target) (*outcome, error) {
	a.called = true
	names, err := secrets.List(ctx, to.session, to.location)
	if err != nil {
		return nil, err
	}
	return &outcome{result: secretResult(names),
		message: fmt.Sprintf("listed %d names in %s", len(names.Data), names.Path)}, nil
}

func (a *attempt) readMetadata(ctx context.Context, to *target) (*outcome, error) {
	a.called = true
	metadata, err := secrets.ReadMetadata(ctx, to.session, to.location)
	if err != nil {
		return nil, err
	}
	return &outcome{
		result: &v1alpha1.TaskResult{
			Path: metadata.Path, Version: metadata.CurrentVersion, Metadata: metadataResult(metadata),
			RequestID: metadata.RequestID,
		},
		message: fmt.Sprintf("read the metadata of %d versions at %s", len(metadata.Versions), metadata.Path),
	}, nil
}

func secretResult(secret *secrets.Secret) *v1alpha1.TaskResult {
	result := &v1alpha1.TaskResult{
		Path: secret.Path, Version: secret.Version, CreatedTime: status.Time(secret.CreatedTime),
		RequestID: secret.RequestID,
	}
	result.Keys, result.KeysOmitted = keysOf(secret.Data)
	return result
}

// keysOf returns the names of the keys, sorted, and how many more there are than status has room for.
func keysOf(data map[string]any) (keys []string, omitted int32) {
	size := 0
	for _, key := range slices.Sorted(maps.Keys(data)) {
		if len(key) > maxKeyName {
			continue
		}
		key = printable.Text(key, maxKeyName)
		if size += len(key); len(keys) == maxKeys || size > maxKeyBytes {
			break
		}
		keys = append(keys, key)
	}
	return keys, int32(len(data) - len(keys)) //nolint:gosec // Vault's responses are bounded
}

func metadataResult(metadata *secrets.Metadata) *v1alpha1.SecretMetadata {
	result := &v1alpha1.SecretMetadata{
		CreatedTime:    status.Time(metadata.CreatedTime),
		UpdatedTime:    status.Time(metadata.UpdatedTime),
		CurrentVersion: metadata.CurrentVersion,
		OldestVersion:  metadata.OldestVersion,
		MaxVersions:    metadata.MaxVersions,
		CASRequired:    metadata.CASRequired,
		CustomMetadata: metadata.Custom,
	}
	if metadata.DeleteVersionAfter > 0 {
		result.DeleteVersionAfter = &metav1.Duration{Duration: metadata.DeleteVersionAfter}
	}
	for _, version := range metadata.Versions[:min(len(metadata.Versions), maxVersions)] {
		result.Versions = append(result.Versions, v1alpha1.SecretVersion{
			Version: version.Number, CreatedTime: status.Time(version.CreatedTime),
			DeletionTime: status.Time(version.DeletionTime),
			Destroyed:    version.Destroyed,
		})
	}
	return result
}

// versioned is how messages call a secret: version 3 of secret/data/oracle.
func versioned(version int64, path string) string {
	if version == 0 {
		return path
	}
	return fmt.Sprintf("version %d of %s", version, path)
}
