//go:build tools

// Package vault pins the Vault server that the tests and the demo run against. Vault's server is licensed under the
// Business Source License: it is built here from its published module as a test tool, never shipped and never
// imported by the product.
package vault

import (
	_ "github.com/hashicorp/vault"
)
