// Command golangci-lint is golangci-lint with kube-api-linter compiled in. `golangci-lint custom` makes such a program
// from a clone of golangci-lint's repository; as a program of this module it is one plain `go build`, from versions
// that go.mod and go.sum pin.
package main

import (
	"fmt"
	"os"
	"runtime/debug"
	"strings"

	"github.com/golangci/golangci-lint/v2/pkg/commands"
	"github.com/golangci/golangci-lint/v2/pkg/exitcodes"

	// Registers the linter "kubeapilinter" with golangci-lint's module plugin system.
	_ "sigs.k8s.io/kube-api-linter"
)

const (
	linterModule = "github.com/golangci/golangci-lint/v2"
	pluginModule = "sigs.k8s.io/kube-api-linter"
)

func main() {
	if err := commands.Execute(buildInfo()); err != nil {
		_, _ = fmt.Fprintf(os.Stderr, "The command is terminated due to an error: %v\n", err)
		os.Exit(exitcodes.Failure)
	}
}

// buildInfo takes both versions from the binary itself. golangci-lint puts them into the key of its result cache, so a
// new plugin never reads the answers of an old one.
func buildInfo() commands.BuildInfo {
	result := commands.BuildInfo{Version: "unknown", GoVersion: "unknown", Date: "(unknown)"}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return result
	}
	result.GoVersion = info.GoVersion
	for _, dep := range info.Deps {
		switch dep.Path {
		case linterModule:
			result.Version = strings.TrimPrefix(dep.Version, "v")
		case pluginModule:
			result.Commit = "kube-api-linter " + dep.Version
		}
	}
	return result
}
