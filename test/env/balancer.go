package env

import (
	"io"
	"net"
	"sync"
)

// Balancer is a load balancer of the simplest kind: it leads each new connection to the node of Vault that it was told
// last, and knows nothing of what goes over one that there is.
type Balancer struct {
	listener net.Listener

	mu sync.Mutex
	to *Vault
	// led counts the connections to each.
	led  map[*Vault]int
	open []net.Conn
}

// StartBalancer starts one in front of nodes with the same certificate authority.
func StartBalancer(to *Vault) (*Balancer, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	b := &Balancer{listener: listener, to: to, led: map[*Vault]int{}}
	go b.serve()
	return b, nil
}

// URL is the balancer's origin.
func (b *Balancer) URL() string { return "https://" + b.listener.Addr().String() }

// Lead sends new connections to another node.
func (b *Balancer) Lead(to *Vault) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.to = to
}

// Led is how many connections were led to a node.
func (b *Balancer) Led(to *Vault) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.led[to]
}

// Close ends it, and its connections.
func (b *Balancer) Close() {
	_ = b.listener.Close()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.open {
		_ = c.Close()
	}
}

func (b *Balancer) serve() {
	for {
		client, err := b.listener.Accept()
		if err != nil {
			return
		}
		b.mu.Lock()
		to := b.to
		b.led[to]++
		node, err := net.Dial("tcp", to.address)
		b.open = append(b.open, client)
		if err == nil {
			b.open = append(b.open, node)
		}
		b.mu.Unlock()
		if err != nil {
			_ = client.Close()
			continue
		}
		for _, way := range [][2]net.Conn{{client, node}, {node, client}} {
			go func() {
				_, _ = io.Copy(way[0], way[1])
				_ = client.Close()
				_ = node.Close()
			}()
		}
	}
}
