// Sallyport-exec puts the values of mounted Connections into the environment of one process, and becomes it. It is for
// programs that read their environment only, and runs in their containers.
package main

import (
	"os"

	"sallyport.dev/sallyport/internal/launcher"
)

func main() {
	os.Exit(launcher.Main(os.Args[1:], os.Environ(), os.Stdout, os.Stderr))
}
