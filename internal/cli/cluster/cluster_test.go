package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"syscall"
	"testing"

	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func TestWhatAnAnswerMeansIsOneSentence(t *testing.T) {
	connections := schema.GroupResource{Group: "sallyport.dev", Resource: "connections"}
	forbidden := func(why string) error { return apierrors.NewForbidden(connections, "x", errors.New(why)) }
	for sentence, err := range map[string]error{
		"interrupted": &url.Error{Op: "Get", URL: "https://api", Err: fmt.Errorf("waiting: %w", context.Canceled)},
		"the API server did not answer in time; see --request-timeout and kubectl cluster-info": &url.Error{
			Op: "Get", URL: "https://api", Err: context.DeadlineExceeded,
		},
		`you may not do that: connections.sallyport.dev "x" is forbidden: User "nobody" cannot get resource "connections"; whoever runs the cluster ` +
			"can give you the cluster role view, for changes edit, for VaultTasks admin": forbidden(`User "nobody" cannot get resource "connections"`),
		`the API server refuses it: connections.sallyport.dev "x" is forbidden: ValidatingAdmissionPolicy 'sallyport-x' denied request: you may not`: forbidden(
			"ValidatingAdmissionPolicy 'sallyport-x' denied request:\n you may not"),
		`the API server refuses it: connections.sallyport.dev "x" is forbidden: exceeded quota: q`: forbidden("exceeded quota: q"),
		"the kubeconfig is not usable: open /home/x/.kube/config: permission denied": &fs.PathError{
			Op: "open", Path: "/home/x/.kube/config", Err: syscall.EACCES,
		},
		`the API server cannot be reached: Get "https://api": connection refused; see kubectl cluster-info`: &url.Error{
			Op: "Get", URL: "https://api", Err: syscall.ECONNREFUSED,
		},
		"two lines": errors.New("two\n\tlines"),
	} {
		NewWithT(t).Expect(Explain(err)).To(MatchError(sentence))
	}
	NewWithT(t).Expect(Explain(nil)).To(Succeed())
}
