package migrate

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

// Read reads manifests: files, the files of directories with what is below them, and standard input for "-". What has
// no namespace is of the one that is given; without one it stays so.
func Read(names []string, stdin io.Reader, namespace string) (*Inventory, error) {
	in := &Inventory{}
	for _, name := range names {
		if name == "-" {
			if err := in.read("standard input", stdin, namespace); err != nil {
				return nil, err
			}
			continue
		}
		files, err := manifests(name)
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			if err := in.readFile(file, namespace); err != nil {
				return nil, err
			}
		}
	}
	return in, nil
}

// manifests are the file itself, or the YAML and JSON of a directory, but for what kustomize is told there: that
// needs no kind, and is no manifest.
func manifests(name string) ([]string, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, fmt.Errorf("cannot read -f %s: %w", name, errors.Unwrap(err))
	}
	if !info.IsDir() {
		return []string{name}, nil
	}
	var files []string
	err = filepath.WalkDir(name, func(path string, entry fs.DirEntry, err error) error {
		if entry != nil && slices.Contains([]string{"kustomization.yaml", "kustomization.yml"}, entry.Name()) {
			return err
		}
		if err == nil && !entry.IsDir() && slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(path)) {
			files = append(files, path)
		}
		return err
	})
	if err == nil && len(files) == 0 {
		err = fmt.Errorf("directory %s has no .yaml, .yml or .json: give the directory of the manifests with -f", name)
	}
	return files, err
}

func (in *Inventory) readFile(name, namespace string) error {
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	return in.read(name, file, namespace)
}

// read reads the documents of one stream.
func (in *Inventory) read(name string, from io.Reader, namespace string) error {
	documents := utilyaml.NewYAMLReader(bufio.NewReader(from))
	found := false
	for number := 1; ; number++ {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("cannot read %s: %w", name, err)
		}
		var content any
		if err := yaml.Unmarshal(document, &content); err != nil {
			return fmt.Errorf("%s, document %d, is no YAML that Kubernetes takes: %s; correct it, or leave the file out",
				name, number, strings.TrimPrefix(strings.Join(strings.Fields(err.Error()), " "), "error converting YAML to JSON: "))
		}
		if content == nil {
			continue
		}
		found = true
		object, _ := content.(map[string]any)
		if err := in.add(name, number, object, namespace); err != nil {
			return err
		}
	}
	if !found {
		return fmt.Errorf("%s is empty: give a file with manifests", name)
	}
	return nil
}

func (in *Inventory) add(name string, number int, content map[string]any, namespace string) error {
	object := &unstructured.Unstructured{Object: content}
	if object.GetAPIVersion() == "" || object.GetKind() == "" {
		return fmt.Errorf("%s, document %d, is no object of Kubernetes: it has no apiVersion or no kind; correct it, or leave the file out", name, number)
	}
	if items, is := content["items"].([]any); is && strings.HasSuffix(object.GetKind(), "List") {
		for _, item := range items {
			one, _ := item.(map[string]any)
			if err := in.add(name, number, one, namespace); err != nil {
				return err
			}
		}
		return nil
	}
	if object.GetName() == "" {
		return fmt.Errorf("%s, document %d: the %s has no metadata.name; give it one", name, number, object.GetKind())
	}
	if namespace != "" && object.GetNamespace() == "" && !strings.HasPrefix(object.GetKind(), "Cluster") && object.GetKind() != "Namespace" {
		object.SetNamespace(namespace)
	}
	in.objects = append(in.objects, object)
	return nil
}
