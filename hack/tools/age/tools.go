//go:build tools

// Package age pins the stock age commands, with which the tests open what the product sealed. It lives in a module of
// its own, so that what only these commands need stays out of the product's.
package age

import (
	_ "filippo.io/age/cmd/age"
	_ "filippo.io/age/cmd/age-keygen"
)
