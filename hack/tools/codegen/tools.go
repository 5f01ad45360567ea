//go:build tools

// Package codegen pins the programs that generate code and manifests: deepcopy functions, CRDs and RBAC from markers
// in Go types (controller-gen), and the resolver's gRPC code from its .proto files (buf, with protoc's two Go plugins).
// It lives in a module of its own, so that none of them decides which library versions the product is built with.
//
// buf stays at v1.73.0: it is the newest whose dependencies are satisfied with a released protobuf runtime, and the
// version of protoc-gen-go is written into every file that it generates.
package codegen

import (
	_ "github.com/bufbuild/buf/cmd/buf"
	_ "google.golang.org/grpc/cmd/protoc-gen-go-grpc"
	_ "google.golang.org/protobuf/cmd/protoc-gen-go"
	_ "sigs.k8s.io/controller-tools/cmd/controller-gen"
)
