package main

import (
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// writeSBOM writes a CycloneDX document of what Go itself recorded in a program: its modules, and the toolchain with
// its library.
func (r *release) writeSBOM(platform string, program []byte, info *buildinfo.BuildInfo) error {
	sum := sha256.Sum256(program)
	type hash struct {
		Algorithm string `json:"alg"`
		Content   string `json:"content"`
	}
	type component struct {
		Type    string `json:"type"`
		Ref     string `json:"bom-ref"`
		Name    string `json:"name"`
		Version string `json:"version"`
		Purl    string `json:"purl,omitempty"`
		Hashes  []hash `json:"hashes,omitempty"`
	}
	type dependency struct {
		Ref       string   `json:"ref"`
		DependsOn []string `json:"dependsOn"`
	}
	product := component{Type: "application", Ref: "sallyport", Name: "sallyport", Version: r.version,
		Purl: "pkg:golang/" + info.Main.Path + "@v" + r.version, Hashes: []hash{{"SHA-256", hex.EncodeToString(sum[:])}}}
	library := "pkg:golang/std@" + strings.TrimPrefix(info.GoVersion, "go")
	components := []component{{Type: "library", Ref: library, Name: "std", Version: info.GoVersion, Purl: library}}
	for _, module := range info.Deps {
		for module.Replace != nil {
			module = module.Replace
		}
		purl := "pkg:golang/" + module.Path + "@" + module.Version
		found := component{Type: "library", Ref: purl, Name: module.Path, Version: module.Version, Purl: purl}
		// Go's own sum (h1) of a module is a SHA-256 of its files' names and sums.
		raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(module.Sum, "h1:"))
		if err == nil && len(raw) == sha256.Size {
			found.Hashes = []hash{{"SHA-256", hex.EncodeToString(raw)}}
		}
		components = append(components, found)
	}
	slices.SortFunc(components, func(a, b component) int { return strings.Compare(a.Ref, b.Ref) })
	uses := dependency{Ref: product.Ref}
	for _, c := range components {
		uses.DependsOn = append(uses.DependsOn, c.Ref)
	}
	// A serial number that is the program's, not the run's.
	serial := slices.Clone(sum[:16])
	serial[6], serial[8] = serial[6]&0x0f|0x50, serial[8]&0x3f|0x80
	return r.writeJSON(r.name("-"+platform+".cdx.json"), map[string]any{
		"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1,
		"serialNumber": fmt.Sprintf("urn:uuid:%x-%x-%x-%x-%x",
			serial[:4], serial[4:6], serial[6:8], serial[8:10], serial[10:]),
		"metadata":   map[string]any{"timestamp": r.source.time.Format("2006-01-02T15:04:05Z"), "component": product},
		"components": components, "dependencies": []dependency{uses},
	})
}

func (r *release) writeJSON(name string, value any) error {
	content, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return err
	}
	return r.write(name, append(content, '\n'))
}
