package main

import (
	"strings"

	"google.golang.org/grpc/resolver"
)

// replicas resolves replicas:///HOST:PORT,HOST:PORT to all of these addresses, as the name of a headless service does.
type replicas struct{}

func init() { resolver.Register(replicas{}) }

func (replicas) Scheme() string { return "replicas" }

func (replicas) Build(target resolver.Target, connection resolver.ClientConn, _ resolver.BuildOptions) (resolver.Resolver, error) {
	state := resolver.State{}
	for _, address := range strings.Split(target.Endpoint(), ",") {
		state.Addresses = append(state.Addresses, resolver.Address{Addr: address})
	}
	return resolved{}, connection.UpdateState(state)
}

// resolved is done: these addresses do not change.
type resolved struct{}

func (resolved) ResolveNow(resolver.ResolveNowOptions) {}
func (resolved) Close()                                {}
