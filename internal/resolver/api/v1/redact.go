// Package resolverv1 is the protocol between the node plugin and the resolver. Apart from this file it is generated.
//
// Its messages carry a token and the content of secrets, so none of them prints it: hack/generate.sh takes the
// generated String methods out, and the ones below stand in their place. Format covers every verb of package fmt, %#v
// included.
package resolverv1

import (
	"fmt"
	"strings"
)

// String describes the request without the pod's tokens.
func (x *ResolveRequest) String() string {
	return fmt.Sprintf("ResolveRequest{volumeAttributes: %v, revision: %q}", x.GetVolumeAttributes(), x.GetRevision())
}

// Format makes every verb print what String does.
func (x *ResolveRequest) Format(state fmt.State, _ rune) { _, _ = state.Write([]byte(x.String())) }

// MarshalLog makes structured loggers print what String does.
func (x *ResolveRequest) MarshalLog() any { return x.String() }

// String names the files without their content.
func (x *ResolveResponse) String() string {
	paths := make([]string, 0, len(x.GetFiles()))
	for _, file := range x.GetFiles() {
		paths = append(paths, file.GetPath())
	}
	return fmt.Sprintf("ResolveResponse{revision: %q, unchanged: %t, files: [%s]}",
		x.GetRevision(), x.GetUnchanged(), strings.Join(paths, " "))
}

// Format makes every verb print what String does.
func (x *ResolveResponse) Format(state fmt.State, _ rune) { _, _ = state.Write([]byte(x.String())) }

// MarshalLog makes structured loggers print what String does.
func (x *ResolveResponse) MarshalLog() any { return x.String() }

// String says which request it answers and how, without what a response carries.
func (x *ResolveEachResponse) String() string {
	switch answer := x.GetAnswer().(type) {
	case *ResolveEachResponse_Response:
		return fmt.Sprintf("ResolveEachResponse{index: %d, response: %v}", x.GetIndex(), answer.Response)
	case *ResolveEachResponse_Failure:
		return fmt.Sprintf("ResolveEachResponse{index: %d, failure: %d bytes}", x.GetIndex(), len(answer.Failure))
	default:
		return fmt.Sprintf("ResolveEachResponse{index: %d, alone: %t}", x.GetIndex(), x.GetAlone())
	}
}

// Format makes every verb print what String does.
func (x *ResolveEachResponse) Format(state fmt.State, _ rune) { _, _ = state.Write([]byte(x.String())) }

// MarshalLog makes structured loggers print what String does.
func (x *ResolveEachResponse) MarshalLog() any { return x.String() }

// String names the file without its content.
func (x *File) String() string { return fmt.Sprintf("File{path: %q}", x.GetPath()) }

// Format makes every verb print what String does.
func (x *File) Format(state fmt.State, _ rune) { _, _ = state.Write([]byte(x.String())) }

// MarshalLog makes structured loggers print what String does.
func (x *File) MarshalLog() any { return x.String() }

// String shows the cursor, which is no secret.
func (x *ChangesRequest) String() string {
	return fmt.Sprintf("ChangesRequest{after: %q}", x.GetAfter())
}

// String shows all, which is no secret.
func (x *ChangesResponse) String() string {
	return fmt.Sprintf("ChangesResponse{cursor: %q, change keys: %q}", x.GetCursor(), x.GetChangeKeys())
}

// String says that there are leases, which are encrypted.
func (x *ReleaseRequest) String() string {
	return fmt.Sprintf("ReleaseRequest{leases: %d bytes}", len(x.GetLeases()))
}

// Format makes every verb print what String does.
func (x *ReleaseRequest) Format(state fmt.State, _ rune) { _, _ = state.Write([]byte(x.String())) }

// MarshalLog makes structured loggers print what String does.
func (x *ReleaseRequest) MarshalLog() any { return x.String() }

// String is all there is to say.
func (x *ReleaseResponse) String() string { return "ReleaseResponse{}" }
