package node

import (
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/node/volume"
)

const (
	selinuxFlag = "context="
	// maxAttributes is plenty for a name and overrides. They lie beside each volume, and in the plugin's memory.
	maxAttributes = 16 << 10
)

var selinuxLabel = regexp.MustCompile(`^[-_.,:a-zA-Z0-9]+$`)

// checkTarget refuses calls that do not say which volume they mean and where it belongs: below podsDir.
func checkTarget(podsDir, volumeID, target string) error {
	switch {
	case volumeID == "":
		return invalidArgument("the volume ID is missing")
	case target == "":
		return invalidArgument("the target path is missing")
	case !filepath.IsAbs(target) || filepath.Clean(target) != target:
		return invalidArgument("the target path %s is not absolute and clean", target)
	case !within(podsDir, target):
		// A mount elsewhere would exist in this container only, and the pod would see an empty directory.
		return invalidArgument("the target path %s does not lie in %s: "+
			"the plugin was started with another kubelet directory than the kubelet", target, podsDir)
	}
	return nil
}

// mountCapability returns the options of the mount that the request asks for.
func mountCapability(request *csi.NodePublishVolumeRequest) (*csi.VolumeCapability_MountVolume, error) {
	capability := request.GetVolumeCapability()
	switch {
	case capability == nil:
		return nil, invalidArgument("the volume capability is missing")
	case capability.GetMount() == nil:
		return nil, invalidArgument("only mounted volumes are supported, no block devices")
	}
	return capability.GetMount(), nil
}

// publication is a valid request to publish a volume.
type publication struct {
	state volume.State
	token volume.PodToken
	// selinuxContext is the label that the volume must have.
	selinuxContext string
}

// newPublication checks everything in the request but what checkTarget and mountCapability did.
func newPublication(
	request *csi.NodePublishVolumeRequest, mount *csi.VolumeCapability_MountVolume,
) (publication, error) {
	volumeContext := request.GetVolumeContext()
	if volumeContext[keyEphemeral] != "true" {
		return publication{}, invalidArgument(
			"only ephemeral inline volumes are supported (a pod's volumes[].csi), no PersistentVolumes")
	}
	pod := podIn(volumeContext)
	if pod.Namespace == "" || pod.Name == "" || pod.UID == "" {
		return publication{}, failedPrecondition("the kubelet did not say which pod it mounts for: "+
			"the CSIDriver %s must have podInfoOnMount: true", v1alpha1.DriverName)
	}
	attributes, err := ownAttributes(volumeContext)
	if err != nil {
		return publication{}, err
	}
	for key := range request.GetSecrets() {
		if key != keyTokens {
			return publication{}, invalidArgument(
				"the volume has a nodePublishSecretRef, which this driver does not use: remove it")
		}
	}
	token, err := tokenIn(request)
	if err != nil {
		return publication{}, err
	}
	label, err := selinuxContext(mount.GetMountFlags())
	if err != nil {
		return publication{}, err
	}
	group, err := mountGroup(mount.GetVolumeMountGroup())
	if err != nil {
		return publication{}, err
	}
	return publication{
		state: volume.State{
			VolumeID: request.GetVolumeId(), TargetPath: request.GetTargetPath(),
			Pod: pod, Attributes: attributes, Group: group,
		},
		token:          token,
		selinuxContext: label,
	}, nil
}

// ownAttributes returns the attributes that the pod's author wrote.
func ownAttributes(volumeContext map[string]string) (map[string]string, error) {
	own, bytes := map[string]string{}, 0
	for _, key := range slices.Sorted(maps.Keys(volumeContext)) {
		if strings.HasPrefix(key, kubeletPrefix) {
			continue
		}
		if bytes += len(key) + len(volumeContext[key]); bytes > maxAttributes {
			return nil, invalidArgument("the volume attributes have more than %d bytes, all names and values together: "+
				"put long values into the Connection", maxAttributes)
		}
		overridden, isOverride := strings.CutPrefix(key, v1alpha1.AttributeValuePrefix)
		switch {
		case key == v1alpha1.AttributeConnection, isOverride && overridden != "":
			own[key] = volumeContext[key]
		default:
			return nil, invalidArgument(
				"the volume attribute %q is unknown: there are %q and %q followed by a key of the Connection's value",
				key, v1alpha1.AttributeConnection, v1alpha1.AttributeValuePrefix)
		}
	}
	if own[v1alpha1.AttributeConnection] == "" {
		return nil, invalidArgument("the volume attribute %q is missing: it names the Connection to mount",
			v1alpha1.AttributeConnection)
	}
	return own, nil
}

// selinuxContext returns the SELinux label that the kubelet wants the volume to have.
func selinuxContext(flags []string) (string, error) {
	label := ""
	for _, flag := range flags {
		value, isContext := strings.CutPrefix(flag, selinuxFlag)
		if !isContext {
			return "", invalidArgument("the mount option %q is not supported", flag)
		}
		label = strings.Trim(value, `"`)
		if !selinuxLabel.MatchString(label) {
			return "", invalidArgument("the mount option %q is not an SELinux label", flag)
		}
	}
	return label, nil
}

// mountGroup returns the pod's fsGroup, nil for none.
func mountGroup(text string) (*int64, error) {
	if text == "" {
		return nil, nil
	}
	// The kernel's highest ID means "no ID".
	group, err := strconv.ParseUint(text, 10, 31)
	if err != nil {
		return nil, invalidArgument("the volume mount group %q is not the number of a group", text)
	}
	id := int64(group)
	return &id, nil
}
