package networks

import (
	"context"
	"errors"
	"net"
	"testing"

	. "github.com/onsi/gomega"
)

func TestGuard_WhichAddressesAreOpen(t *testing.T) {
	g := NewWithT(t)
	guard, err := NewGuard(nil, []string{"10.96.0.1", "kubernetes.default.svc", "", "[fd00::1]"})
	g.Expect(err).NotTo(HaveOccurred())
	for address, open := range map[string]bool{
		"10.0.0.7": true, "172.16.3.4": true, "192.168.1.1": true, "100.64.0.1": true, "10.96.0.2": true, "fd00::2": true,
		"203.0.113.7": true, "2001:db8::1": true,
		"127.0.0.1": false, "127.8.8.8": false, "::1": false, "::ffff:127.0.0.1": false, "64:ff9b::7f00:1": false,
		"::7f00:1": false, "0.0.0.0": false, "0.1.2.3": false, "::": false,
		"169.254.169.254": false, "::ffff:169.254.169.254": false, "64:ff9b::a9fe:a9fe": false, "fe80::1": false,
		"fe80::1%eth0": false, "fd00:ec2::254": false, "fd20:ce::254": false, "100.100.100.200": false,
		"168.63.129.16": false, "192.0.0.192": false, "224.0.0.1": false, "ff02::1": false, "255.255.255.255": false,
		"10.96.0.1": false, "::ffff:10.96.0.1": false, "64:ff9b::a60:1": false, "fd00::1": false,
		"64:ff9b::a00:7": true,
	} {
		err := guard.Control(context.Background(), "tcp", net.JoinHostPort(address, "443"), nil)
		if open {
			g.Expect(err).NotTo(HaveOccurred(), address)
		} else {
			g.Expect(err).To(MatchError(ErrClosed{}), address)
		}
	}
	g.Expect(guard.Control(context.Background(), "unix", "/run/docker.sock", nil)).To(MatchError(ErrClosed{}))
}

func TestGuard_WhatTheAdministratorListsIsOpen(t *testing.T) {
	g := NewWithT(t)
	guard, err := NewGuard([]string{"127.0.0.0/8", "169.254.7.7", "10.96.0.0/24"}, []string{"10.96.0.1"})
	g.Expect(err).NotTo(HaveOccurred())
	for address, open := range map[string]bool{
		"127.0.0.1": true, "169.254.7.7": true, "169.254.169.254": false, "::1": false, "10.96.0.1": true,
	} {
		g.Expect(guard.Control(context.Background(), "tcp", net.JoinHostPort(address, "1"), nil) == nil).To(Equal(open), address)
	}
	for _, wrong := range []string{"localhost", "10.0.0.0/33", "fe80::1%eth0", "https://10.0.0.1"} {
		_, err := NewGuard([]string{wrong}, nil)
		g.Expect(err).To(MatchError(ContainSubstring("is no network")), wrong)
	}
	var none *Guard
	g.Expect(none.Control(context.Background(), "tcp", "127.0.0.1:1", nil)).To(Succeed())
}

func TestGuard_LooksAtWhatANameIsResolvedTo(t *testing.T) {
	g := NewWithT(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	g.Expect(err).NotTo(HaveOccurred())
	defer func() { _ = listener.Close() }()
	guard, err := NewGuard(nil, nil)
	g.Expect(err).NotTo(HaveOccurred())
	_, port, err := net.SplitHostPort(listener.Addr().String())
	g.Expect(err).NotTo(HaveOccurred())
	_, err = (&net.Dialer{ControlContext: guard.Control}).Dial("tcp", net.JoinHostPort("localhost", port))
	g.Expect(errors.As(err, new(ErrClosed))).To(BeTrue(), "%v", err)
}

func TestGuard_ANetworkOfItsOwnIsNeverLeft(t *testing.T) {
	g := NewWithT(t)
	away := errors.New("not there")
	guard := Within(func(context.Context, string, string) (net.Conn, error) { return nil, away })
	_, err := guard.Dial(&net.Dialer{})(context.Background(), "tcp", "127.0.0.1:1")
	g.Expect(err).To(MatchError(away))
}
