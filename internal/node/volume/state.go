package volume

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// State is what a new process must know of a volume to carry on. It holds no content and no hash of any; the
// leases are encrypted.
type State struct {
	VolumeID   string            `json:"volumeID"`
	TargetPath string            `json:"targetPath"`
	Pod        Pod               `json:"pod"`
	Attributes map[string]string `json:"attributes"`
	// Group owns the files; nil: the files are readable by everybody in the pod.
	Group *int64 `json:"group,omitempty"`
	// Revision is the resolver's name for the content, and DataDir the directory that holds that content. A refresh
	// swaps the files first and writes its state later: if ..data leads elsewhere, the revision is of files that are
	// gone.
	Revision    string    `json:"revision,omitempty"`
	DataDir     string    `json:"dataDir,omitempty"`
	RefreshedAt time.Time `json:"refreshedAt,omitzero"`
	// Leases are all that the volume has: also those of files that are gone, until a response says that these were
	// revoked.
	Leases EncryptedLeases `json:"leases,omitempty"`
	// Complete is in every state of this version. Older versions set it once the files were mounted, and take a volume
	// without it for one that was never reported ready.
	Complete bool `json:"complete,omitempty"`
}

// cost is the memory that the state takes on top of Cost: text in a file, and once more in the plugin.
func (s State) cost() int64 {
	bytes := s.Leases.Size() + int64(len(s.Leases))
	for name, value := range s.Attributes {
		// A character may take six in JSON.
		bytes += 7 * int64(len(name)+len(value))
	}
	return bytes
}

// Pod names the pod that a volume belongs to, for logs.
type Pod struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	UID       string `json:"uid"`
}

// String is how logs call it.
func (p Pod) String() string { return p.Namespace + "/" + p.Name }

// ReadState returns the state of the volume in dir, empty if there is none.
func ReadState(dir string) (State, error) {
	// A process that was killed before it could rename this one may have told only here of leases. A part of one is not
	// read.
	s, err := readStateFile(filepath.Join(dir, StateFile+newSuffix))
	if err != nil {
		s, err = readStateFile(filepath.Join(dir, StateFile))
	}
	if errors.Is(err, fs.ErrNotExist) {
		return State{}, nil
	}
	if err != nil {
		return State{}, fmt.Errorf("reading %s: %w", StateFile, err)
	}
	// Without the link there is no content that the revision could name.
	if link, _ := os.Readlink(filepath.Join(dir, FilesDir, DataLink)); link == "" || link != s.DataDir {
		s.Revision = ""
	}
	return s, nil
}

func readStateFile(path string) (State, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return State{}, err
	}
	var s State
	if err := json.Unmarshal(content, &s); err != nil {
		return State{}, err
	}
	return s, nil
}

// writeState replaces the state of the volume in dir in one step.
func writeState(filesystem Filesystem, dir string, s State) error {
	content, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return replaceFile(filesystem, filepath.Join(dir, StateFile), content)
}

// replaceFile puts a file, readable by root only, in place of the former one in one step.
func replaceFile(filesystem Filesystem, path string, content []byte) error {
	err := filesystem.WriteFile(path+newSuffix, content, 0o600)
	if errors.Is(err, fs.ErrExist) {
		// A process that was killed here left one.
		if failure := filesystem.Remove(path + newSuffix); failure != nil {
			return failure
		}
		err = filesystem.WriteFile(path+newSuffix, content, 0o600)
	}
	if err != nil {
		return err
	}
	return filesystem.Rename(path+newSuffix, path)
}
