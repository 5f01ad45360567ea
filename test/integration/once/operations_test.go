package once

import (
	"context"
	"fmt"
	"net/http"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/builder"
)

// operation is one kind of effect: how to prepare for it, what a task for it says, which request has the effect, and
// how often it happened.
type operation struct {
	name    string
	prepare func(path string)
	task    func(path string, spec *v1alpha1.VaultTaskSpec)
	// method and path of the request.
	method string
	api    func(path string) string
	// effects counts what happened, and fails if something else did.
	effects func(path string) (int, error)
	// meanwhile is what somebody else does after the answer was lost; it must not be undone.
	meanwhile func(path string)
}

func nothing(string) {}

func data(path string) string { return "secret/data/" + path }

func put(path string) {
	server.PutKV("secret/data/"+path, map[string]any{"user": "scott", "version": "old"})
}

func twice(path string) { put(path); put(path) }

// versionsAfter counts the versions after those that were there.
func versionsAfter(base int) func(string) (int, error) {
	return func(path string) (int, error) {
		metadata, err := server.Client().KVv2("secret").GetMetadata(context.Background(), path)
		if err != nil && base == 0 {
			return 0, nil // nothing there yet
		}
		if err != nil {
			return 0, err
		}
		return metadata.CurrentVersion - base, nil
	}
}

// versionState counts whether version 2 is in a state, and fails if any other is.
func versionState(is, others func(deleted, destroyed bool) bool) func(string) (int, error) {
	return func(path string) (int, error) {
		metadata, err := server.Client().KVv2("secret").GetMetadata(context.Background(), path)
		if err != nil {
			return 0, err
		}
		count := 0
		for number, version := range metadata.Versions {
			deleted := !version.DeletionTime.IsZero()
			switch {
			case number == "2" && is(deleted, version.Destroyed):
				count = 1
			case number != "2" && !others(deleted, version.Destroyed):
				return 0, fmt.Errorf("version %s is deleted=%t destroyed=%t", number, deleted, version.Destroyed)
			}
		}
		return count, nil
	}
}

func untouched(deleted, destroyed bool) bool { return !deleted && !destroyed }

// sent counts requests that reached Vault or may have; for engines that keep no history.
func sent(method, prefix string) func(string) (int, error) {
	return func(path string) (int, error) {
		if n := proxy.Counts()[method+" "+prefix+path]; n > 1 {
			return n, fmt.Errorf("%d requests were sent", n)
		}
		secret, err := server.Client().Logical().Read(prefix + path)
		if err != nil {
			return 0, err
		}
		there := secret != nil && secret.Data["a"] == "new"
		if method == http.MethodDelete {
			there = secret == nil
		}
		if there {
			return 1, nil
		}
		return 0, nil
	}
}

func keyVersions(path string) (int, error) {
	key, err := server.Client().Logical().Read("transit/keys/" + path)
	if err != nil {
		return 0, err
	}
	versions, _ := key.Data["keys"].(map[string]any)
	return len(versions) - 1, nil
}

func newKey(path string) {
	if _, err := server.Client().Logical().Write("transit/keys/"+path, nil); err != nil {
		panic(err)
	}
}

func literal(spec *v1alpha1.VaultTaskSpec) { spec.Data = map[string]v1alpha1.TaskValue{"a": "new"} }

func random(spec *v1alpha1.VaultTaskSpec) {
	spec.Generate = []v1alpha1.GeneratedValue{{Key: "password"}}
}

// storeWrappingToken keeps a wrapping token in a Secret of the path's name.
func storeWrappingToken(path string) {
	client, err := server.Client().Clone()
	if err != nil {
		panic(err)
	}
	client.SetToken(server.RootToken())
	client.SetWrappingLookupFunc(func(string, string) string { return "10m" })
	secret, err := client.Logical().Write("sys/wrapping/wrap", map[string]any{"password": "wrapped"})
	if err != nil {
		panic(err)
	}
	if err := cp.Client.Create(context.Background(), builder.TokenSecret(namespace, path, secret.WrapInfo.Token)); err != nil {
		panic(err)
	}
}

var operations = []operation{
	{
		name: "unwrap", prepare: storeWrappingToken, method: http.MethodPost, api: data, effects: versionsAfter(0),
		task: func(path string, s *v1alpha1.VaultTaskSpec) {
			s.Operation, s.SecretPath = v1alpha1.OperationWrite, path
			s.Unwrap = &v1alpha1.WrappingTokenSource{SecretKeyRef: v1alpha1.SecretKeyReference{Name: path, Key: "token"}}
		},
	},
	{
		name: "write", prepare: nothing, method: http.MethodPost, api: data, effects: versionsAfter(0),
		task: func(path string, s *v1alpha1.VaultTaskSpec) {
			s.Operation, s.SecretPath = v1alpha1.OperationWrite, path
			literal(s)
		},
	},
	{
		name: "create", prepare: nothing, method: http.MethodPost, api: data, effects: versionsAfter(0),
		task: func(path string, s *v1alpha1.VaultTaskSpec) {
			s.Operation, s.SecretPath = v1alpha1.OperationWrite, path
			random(s)
		},
	},
	{
		name: "rotate", prepare: put, method: http.MethodPost, api: data, effects: versionsAfter(1),
		task: func(path string, s *v1alpha1.VaultTaskSpec) {
			s.Operation, s.SecretPath, s.Overwrite = v1alpha1.OperationWrite, path, new(true)
			random(s)
		},
	},
	{
		name: "patch", prepare: put, method: http.MethodPatch, api: data, effects: versionsAfter(1),
		task: func(path string, s *v1alpha1.VaultTaskSpec) {
			s.Operation, s.SecretPath, s.RemoveKeys = v1alpha1.OperationPatch, path, []string{"version"}
			literal(s)
		},
	},
	{
		name: "delete", prepare: twice, method: http.MethodPost, api: func(path string) string { return "secret/delete/" + path },
		effects: versionState(func(deleted, _ bool) bool { return deleted }, untouched), meanwhile: put,
		task: func(path string, s *v1alpha1.VaultTaskSpec) {
			s.Operation, s.SecretPath = v1alpha1.OperationDelete, path
		},
	},
	{
		name: "undelete", method: http.MethodPost, api: func(path string) string { return "secret/undelete/" + path },
		prepare: func(path string) {
			twice(path)
			if err := server.Client().KVv2("secret").DeleteVersions(context.Background(), path, []int{1, 2}); err != nil {
				panic(err)
			}
		},
		effects: versionState(untouched, func(deleted, _ bool) bool { return deleted }),
		task: func(path string, s *v1alpha1.VaultTaskSpec) {
			s.Operation, s.SecretPath, s.Versions = v1alpha1.OperationUndelete, path, []int64{2}
		},
	},
	{
		name: "destroy", prepare: twice, method: http.MethodPut, api: func(path string) string { return "secret/destroy/" + path }, meanwhile: put,
		effects: versionState(func(_, destroyed bool) bool { return destroyed }, untouched),
		task: func(path string, s *v1alpha1.VaultTaskSpec) {
			s.Operation, s.SecretPath, s.Versions = v1alpha1.OperationDestroy, path, []int64{2}
		},
	},
	{
		name: "metadata", prepare: put, method: http.MethodPatch, api: func(path string) string { return "secret/metadata/" + path },
		task: func(path string, s *v1alpha1.VaultTaskSpec) {
			s.Operation, s.SecretPath = v1alpha1.OperationPatchMetadata, path
			s.Metadata = &v1alpha1.SecretMetadataSpec{MaxVersions: new(int64(7))}
		},
		effects: func(path string) (int, error) {
			metadata, err := server.Client().KVv2("secret").GetMetadata(context.Background(), path)
			if err != nil || metadata.MaxVersions != 7 {
				return 0, err
			}
			return 1, nil
		},
	},
	{
		name: "remove", prepare: put, method: http.MethodDelete, api: func(path string) string { return "secret/metadata/" + path },
		task: func(path string, s *v1alpha1.VaultTaskSpec) {
			s.Operation, s.SecretPath = v1alpha1.OperationDeleteMetadata, path
		},
		// Somebody makes the secret anew as soon as it is gone: that one must stay.
		meanwhile: func(path string) {
			if _, err := server.Client().KVv2("secret").GetMetadata(context.Background(), path); err != nil {
				server.PutKV("secret/data/"+path, map[string]any{"user": "theirs"})
			}
		},
		effects: func(path string) (int, error) {
			secret, err := server.Client().KVv2("secret").Get(context.Background(), path)
			if err != nil || secret.Data["user"] == "theirs" {
				return 1, nil
			}
			return 0, nil
		},
	},
	{
		name: "write-v1", prepare: nothing, method: http.MethodPost, api: func(path string) string { return "kv/" + path }, effects: sent(http.MethodPost, "kv/"),
		task: func(path string, s *v1alpha1.VaultTaskSpec) {
			s.Operation, s.EnginePath, s.SecretPath = v1alpha1.OperationWrite, "kv", path
			literal(s)
		},
	},
	{
		name: "delete-v1", method: http.MethodDelete, api: func(path string) string { return "kv/" + path }, effects: sent(http.MethodDelete, "kv/"),
		prepare: func(path string) { server.PutKV("kv/"+path, map[string]any{"a": "old"}) },
		task: func(path string, s *v1alpha1.VaultTaskSpec) {
			s.Operation, s.EnginePath, s.SecretPath = v1alpha1.OperationDelete, "kv", path
		},
	},
	{
		name: "generic", prepare: newKey, method: http.MethodPost, api: func(path string) string { return "transit/keys/" + path + "/rotate" }, effects: keyVersions,
		task: func(path string, s *v1alpha1.VaultTaskSpec) {
			s.Operation, s.Path = v1alpha1.OperationGenericWrite, "transit/keys/"+path+"/rotate"
		},
	},
}
