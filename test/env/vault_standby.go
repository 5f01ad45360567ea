package env

import (
	"context"
	"fmt"
	"os"
)

// StartStandby starts another server of the same cluster: a standby, which forwards what it is asked to this one.
// Closing either leaves the other without a majority.
func (v *Vault) StartStandby(ctx context.Context) (_ *Vault, err error) {
	directory, err := os.MkdirTemp("", "sallyport-vault-")
	if err != nil {
		return nil, err
	}
	s := &Vault{directory: directory, pki: v.pki, key: v.key}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	if s.address, err = FreeAddress(); err != nil {
		return nil, err
	}
	if s.cluster, err = FreeAddress(); err != nil {
		return nil, err
	}
	if err := os.WriteFile(s.file("ca.crt"), []byte(v.pki.certificate), 0o600); err != nil {
		return nil, err
	}
	join := fmt.Sprintf("retry_join {\n    leader_api_addr = %q\n    leader_ca_cert_file = %q\n  }", v.URL(), s.file("ca.crt"))
	if err := s.configure(join); err != nil {
		return nil, err
	}
	if s.client, err = s.newClient(); err != nil {
		return nil, err
	}
	s.client.SetToken(v.RootToken())
	if err := s.launch(ctx); err != nil {
		return nil, err
	}
	// The first key only has it join; that it may serve shows when it answers for the leader.
	err = s.poll(ctx, func() error {
		if status, failure := s.client.Sys().SealStatusWithContext(ctx); failure != nil || status.Sealed {
			if _, failure := s.client.Sys().UnsealWithContext(ctx, s.key); failure != nil {
				return failure
			}
		}
		_, failure := s.client.Auth().Token().LookupSelfWithContext(ctx)
		return failure
	})
	return s, err
}
