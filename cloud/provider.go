package cloud

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	"galaxy/cloud/rpc"
)

// Times of the protocol (contract section 7).
const (
	callTimeout      = time.Minute
	keepaliveEvery   = 2 * time.Minute
	keepaliveTimeout = time.Minute
)

// Provider is a cloud provider behind a plain gRPC connection.
type Provider struct {
	connection *grpc.ClientConn
	client     rpc.IPProviderServiceClient
}

// Dial makes a Provider, which is to be closed. It connects with the first call.
func Dial(address string) (*Provider, error) {
	connection, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: keepaliveEvery, Timeout: keepaliveTimeout,
			PermitWithoutStream: true}))
	if err != nil {
		return nil, fmt.Errorf("cloud provider %q: %w", address, err)
	}
	return &Provider{connection, rpc.NewIPProviderServiceClient(connection)}, nil
}

// Close ends the connection.
func (p *Provider) Close() error { return p.connection.Close() }

// Assign lets a node receive an address.
func (p *Provider) Assign(ctx context.Context, node string, addr netip.Addr) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	reply, err := p.client.AssignIP(ctx, &rpc.AssignIPRequest{NodeName: node, IPAddress: addr.String()})
	return verdict("assign", node, addr, reply, err)
}

// Unassign takes an address from a node; "" when nobody knows from which.
func (p *Provider) Unassign(ctx context.Context, node string, addr netip.Addr) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	reply, err := p.client.UnAssignIP(ctx, &rpc.UnAssignIPRequest{NodeName: node, IPAddress: addr.String()})
	return verdict("unassign", node, addr, reply, err)
}

// reply is what both responses have.
type reply interface {
	GetSuccess() bool
	GetMsg() string
}

func verdict(what, node string, addr netip.Addr, r reply, err error) error {
	switch {
	case err != nil:
		return fmt.Errorf("cloud provider: %s %s, node %q: %w", what, addr, node, err)
	case !r.GetSuccess():
		return fmt.Errorf("cloud provider: %s %s, node %q: refused: %q", what, addr, node, r.GetMsg())
	default:
		return nil
	}
}
