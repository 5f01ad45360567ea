package resolverv1

import (
	"encoding/json"
	"fmt"
	"testing"

	. "github.com/onsi/gomega"
)

func TestMessagesNeverPrintWhatTheyCarry(t *testing.T) {
	const canary = "correct-horse-battery-staple"
	file := &File{Path: "password", Content: []byte(canary)}
	request := &ResolveRequest{PodToken: canary, WorkloadTokens: map[string]string{"vault": canary}, VolumeAttributes: map[string]string{"connection": "oracle"}, Leases: []byte(canary), Grant: []byte(canary)}
	response := &ResolveResponse{Revision: "r1", Files: []*File{file}, Leases: []byte(canary), Grant: []byte(canary)}
	release := &ReleaseRequest{Leases: []byte(canary)}

	each := &ResolveEachResponse{Answer: &ResolveEachResponse_Response{Response: response}}
	failed := &ResolveEachResponse{Answer: &ResolveEachResponse_Failure{Failure: []byte(canary)}}

	for _, message := range []any{file, request, response, release, each, failed, []*File{file}, []*ResolveEachResponse{each, failed}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x"} {
			NewWithT(t).Expect(fmt.Sprintf(verb, message)).NotTo(
				Or(ContainSubstring(canary), ContainSubstring(fmt.Sprintf("%x", canary)), ContainSubstring("99 111 114")),
				"%T printed with %s", message, verb)
		}
		if logged, ok := message.(interface{ MarshalLog() any }); ok {
			text, err := json.Marshal(logged.MarshalLog())
			NewWithT(t).Expect(err).NotTo(HaveOccurred())
			NewWithT(t).Expect(string(text)).NotTo(ContainSubstring(canary))
		}
	}
}
