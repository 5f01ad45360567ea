package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/env"
)

// floor is the least that could mount a volume: one read in Vault, one TokenReview, one tmpfs and two files. No
// connection is made, no right is checked, and nothing else is asked or remembered.
type floor struct {
	system  *system
	reviews kubernetes.Interface
	dir     string
}

func newFloor(t *testing.T, s *system) *floor {
	t.Helper()
	reviews, err := kubernetes.NewForConfig(s.As("system:serviceaccount:"+env.Namespace+":sallyport-controller", replica))
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return &floor{system: s, reviews: reviews, dir: t.TempDir()}
}

// mount does it for every pod.
func (f *floor) mount(t *testing.T, pods []pod, concurrency int) timing {
	t.Helper()
	result := timed(t, len(pods), concurrency, func(ctx context.Context, i int) error {
		return f.mountOne(ctx, filepath.Join(f.dir, fmt.Sprint(i)), fmt.Sprintf("secret/data/bench/%d", i%connections), pods[i].token)
	})
	for i := range pods {
		dir := filepath.Join(f.dir, fmt.Sprint(i))
		NewWithT(t).Expect(errors.Join(unix.Unmount(dir, 0), os.Remove(dir))).To(Succeed())
	}
	return result
}

func (f *floor) mountOne(ctx context.Context, dir, path, token string) error {
	review, err := f.reviews.AuthenticationV1().TokenReviews().Create(ctx, &authenticationv1.TokenReview{
		Spec: authenticationv1.TokenReviewSpec{Token: token, Audiences: []string{v1alpha1.AudiencePod}},
	}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	if !review.Status.Authenticated {
		return errors.New("the token is not valid")
	}
	secret, err := f.system.vault.Client().Logical().ReadWithContext(ctx, path)
	if err != nil {
		return err
	}
	data, ok := secret.Data["data"].(map[string]any)
	if !ok {
		return errors.New("there is no secret")
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=0755,size=8m,noswap"); err != nil {
		return err
	}
	for _, name := range []string{"user", "password"} {
		if err := os.WriteFile(filepath.Join(dir, name), fmt.Append(nil, data[name]), 0o600); err != nil {
			return err
		}
	}
	return nil
}
