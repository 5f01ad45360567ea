// Kubectl-sallyport is kubectl's plugin for Sallyport: "kubectl sallyport why pod/orders". It is for people at a
// terminal, a program of its own, and in no image.
package main

import (
	"os"

	"k8s.io/cli-runtime/pkg/genericiooptions"

	"sallyport.dev/sallyport/internal/cli"
)

func main() {
	streams := genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr}
	os.Exit(cli.Main(os.Args[1:], streams, os.Getenv))
}
