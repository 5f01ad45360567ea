package server

import (
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
)

func TestOwner(t *testing.T) {
	mounts := func(name string, user *int64) corev1.Container {
		return corev1.Container{
			VolumeMounts:    []corev1.VolumeMount{{Name: "other"}, {Name: name}},
			SecurityContext: &corev1.SecurityContext{RunAsUser: user},
		}
	}
	pod := func(user *int64, containers ...corev1.Container) *corev1.PodSpec {
		return &corev1.PodSpec{SecurityContext: &corev1.PodSecurityContext{RunAsUser: user}, Containers: containers}
	}
	one, two := new(int64(1001)), new(int64(1002))
	for name, test := range map[string]struct {
		spec *corev1.PodSpec
		want *int64
	}{
		"the pod's": {pod(one, mounts("db", nil)), one},
		"the container's, which the pod's yields to": {pod(two, mounts("db", one)), one},
		"root's":                      {pod(new(int64(0)), mounts("db", nil)), new(int64(0))},
		"of containers that mount it": {pod(nil, mounts("elsewhere", two), mounts("db", one)), one},
		"the same of two":             {pod(one, mounts("db", nil), mounts("db", one)), one},
		"not of two that differ":      {pod(one, mounts("db", nil), mounts("db", two)), nil},
		"not of one that is known and one that is not": {pod(nil, mounts("db", one), mounts("db", nil)), nil},
		"not known":           {pod(nil, mounts("db", nil)), nil},
		"not mounted":         {pod(one, mounts("elsewhere", one)), nil},
		"no security context": {&corev1.PodSpec{Containers: []corev1.Container{{VolumeMounts: []corev1.VolumeMount{{Name: "db"}}}}}, nil},
		"of init containers, too": {&corev1.PodSpec{
			InitContainers: []corev1.Container{mounts("db", one)}, Containers: []corev1.Container{mounts("db", two)}}, nil},
		"not of those that debug": {&corev1.PodSpec{
			Containers: []corev1.Container{mounts("db", one)},
			EphemeralContainers: []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{
				VolumeMounts: []corev1.VolumeMount{{Name: "db"}}, SecurityContext: &corev1.SecurityContext{RunAsUser: two}}}}}, one},
	} {
		t.Run(name, func(t *testing.T) {
			NewWithT(t).Expect(ownerOf(test.spec, "db")).To(Equal(test.want))
		})
	}
}
