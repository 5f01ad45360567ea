// Sallyport lets the secrets of HashiCorp Vault reach the pods that may use them, and leaves no copy behind.
//
// The one program has several modes; see `sallyport help`.
package main

import (
	"os"

	"sallyport.dev/sallyport/internal/app"
)

func main() {
	os.Exit(app.Main(os.Args[1:], os.Stdout, os.Stderr))
}
