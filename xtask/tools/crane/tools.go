//go:build tools

// Package tools pins the programs that `cargo xtask setup` builds from this module.
package tools

import (
	_ "github.com/google/go-containerregistry/cmd/crane"
)
