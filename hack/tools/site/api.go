package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// schema is what is told of a field.
type schema struct {
	Type        string             `json:"type"`
	Format      string             `json:"format"`
	Description string             `json:"description"`
	Pattern     string             `json:"pattern"`
	Enum        []any              `json:"enum"`
	Minimum     *float64           `json:"minimum"`
	Maximum     *float64           `json:"maximum"`
	MaxLength   *int64             `json:"maxLength"`
	MaxItems    *int64             `json:"maxItems"`
	Required    []string           `json:"required"`
	Items       *schema            `json:"items"`
	Properties  map[string]*schema `json:"properties"`
	Values      *schema            `json:"additionalProperties"`
	AnyValue    bool               `json:"x-kubernetes-preserve-unknown-fields"`
	Rules       []struct {
		Message string `json:"message"`
	} `json:"x-kubernetes-validations"`
}

type definition struct {
	Spec struct {
		Group string `json:"group"`
		Names struct {
			Kind       string   `json:"kind"`
			ShortNames []string `json:"shortNames"`
		} `json:"names"`
		Versions []struct {
			Name   string `json:"name"`
			Schema struct {
				Root schema `json:"openAPIV3Schema"`
			} `json:"schema"`
		} `json:"versions"`
	} `json:"spec"`
}

// apiReference is a page made of the CRDs.
func apiReference(root string) (*page, error) {
	files, err := filepath.Glob(filepath.Join(root, "config", "crd", "bases", "*.yaml"))
	if err != nil {
		return nil, err
	}
	var document strings.Builder
	document.WriteString("# API\n\nMade from the CRDs, as is what `kubectl explain` shows. The other pages say what it is for.\n")
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		var crd definition
		if err := yaml.Unmarshal(content, &crd); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		for _, version := range crd.Spec.Versions {
			top := version.Schema.Root
			fmt.Fprintf(&document, "\n## %s\n\n`%s/%s`", crd.Spec.Names.Kind, crd.Spec.Group, version.Name)
			if short := crd.Spec.Names.ShortNames; len(short) > 0 {
				fmt.Fprintf(&document, ", short `%s`", strings.Join(short, "`, `"))
			}
			fmt.Fprintf(&document, "\n\n%s\n\n| Field | Type | Meaning |\n|---|---|---|\n", cell(top.Description))
			for _, part := range []string{"spec", "status"} {
				if field := top.Properties[part]; field != nil {
					describe(&document, part, field, slices.Contains(top.Required, part))
				}
			}
		}
	}
	return parse("docs/reference/api.md", []byte(document.String())), nil
}

// describe writes the row of a field, and those of what is in it.
func describe(to *strings.Builder, path string, field *schema, required bool) {
	meaning := cell(field.Description)
	if required {
		meaning = "**Required.** " + meaning
	}
	if limits := field.limits(); limits != "" {
		meaning += " *" + limits + "*"
	}
	for _, rule := range field.Rules {
		meaning += "<br>– " + cell(rule.Message)
	}
	fmt.Fprintf(to, "| `%s` | %s | %s |\n", path, field.kind(), strings.TrimSpace(meaning))
	inner := field
	for {
		if inner.Items != nil {
			inner, path = inner.Items, path+"[]"
		} else if inner.Values != nil {
			inner, path = inner.Values, path+"{}"
		} else {
			break
		}
	}
	for _, name := range slices.Sorted(maps.Keys(inner.Properties)) {
		describe(to, path+"."+name, inner.Properties[name], slices.Contains(inner.Required, name))
	}
}

func (s *schema) kind() string {
	switch {
	case s.Items != nil:
		return "list of " + s.Items.kind()
	case s.Values != nil:
		return "map of " + s.Values.kind()
	case s.Format != "":
		return s.Type + " (" + s.Format + ")"
	case s.Type == "":
		return "any"
	}
	return s.Type
}

func (s *schema) limits() string {
	var all []string
	if len(s.Enum) > 0 {
		var values []string
		for _, value := range s.Enum {
			values = append(values, fmt.Sprint(value))
		}
		all = append(all, "one of "+strings.Join(values, ", "))
	}
	for name, limit := range map[string]*int64{"at most %d characters": s.MaxLength, "at most %d items": s.MaxItems} {
		if limit != nil {
			all = append(all, fmt.Sprintf(name, *limit))
		}
	}
	if s.Minimum != nil {
		all = append(all, fmt.Sprintf("at least %g", *s.Minimum))
	}
	if s.Maximum != nil {
		all = append(all, fmt.Sprintf("at most %g", *s.Maximum))
	}
	return cell(strings.Join(all, "; "))
}

// cell is text that stands in one cell of a table, as it is.
func cell(text string) string {
	escape := strings.NewReplacer("|", `\|`, "<", "&lt;", "*", `\*`, "_", `\_`, "[", `\[`, "\n\n", "<br>", "\n", " ")
	return escape.Replace(strings.TrimSpace(text))
}
