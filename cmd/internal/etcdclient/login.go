package etcdclient

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// login gives each request the token of a user with a password.
//
// etcd's own client asks for a token when it is made, and again for each stream. So it cannot be made while etcd is
// away; and each renewal of a lease is a stream, and to compare a password takes etcd some 60 ms of a core: a thousand
// nodes would keep several cores at it. Here one token is used until etcd refuses it.
type login struct {
	user, password string

	turn  chan struct{} // held by who asks for a token, so that one asks for all
	token atomic.Pointer[string]
	asked atomic.Int64 // how often, for tests
}

func newLogin(user, password string) *login {
	return &login{user: user, password: password, turn: make(chan struct{}, 1)}
}

func (l *login) options() []grpc.DialOption {
	return []grpc.DialOption{grpc.WithChainUnaryInterceptor(l.unary), grpc.WithChainStreamInterceptor(l.stream)}
}

// with is ctx with a token for a request over conn.
func (l *login) with(ctx context.Context, conn *grpc.ClientConn) (context.Context, *string, error) {
	token := l.token.Load()
	if token == nil {
		var err error
		if token, err = l.ask(ctx, conn); err != nil {
			return nil, nil, err
		}
	}
	if *token == "" {
		return ctx, token, nil // etcd wants none
	}
	return metadata.AppendToOutgoingContext(ctx, rpctypes.TokenFieldNameGRPC, *token), token, nil
}

func (l *login) ask(ctx context.Context, conn *grpc.ClientConn) (*string, error) {
	select {
	case l.turn <- struct{}{}:
		defer func() { <-l.turn }()
	case <-ctx.Done():
		return nil, status.FromContextError(ctx.Err()).Err()
	}
	if token := l.token.Load(); token != nil {
		return token, nil // somebody else was faster
	}
	l.asked.Add(1)
	token := ""
	response, err := pb.NewAuthClient(conn).Authenticate(ctx,
		&pb.AuthenticateRequest{Name: l.user, Password: l.password})
	switch {
	case err == nil:
		token = response.Token
	case !errors.Is(rpctypes.Error(err), rpctypes.ErrAuthNotEnabled):
		return nil, err
	}
	l.token.Store(&token)
	return &token, nil
}

// refusals are how etcd says that it wants another token.
var refusals = []error{rpctypes.ErrInvalidAuthToken, rpctypes.ErrUserEmpty, rpctypes.ErrAuthOldRevision}

// refused reports whether etcd wants another token than this, which is not used again then. What is refused so was not
// done.
func (l *login) refused(token *string, err error) bool {
	if err == nil {
		return false
	}
	// a watch says it as text
	says := func(refusal error) bool { return strings.HasSuffix(rpctypes.ErrorDesc(err), refusal.Error()) }
	if !slices.ContainsFunc(refusals, says) {
		return false
	}
	l.token.CompareAndSwap(token, nil)
	return true
}

func (l *login) unary(ctx context.Context, method string, request, response any, conn *grpc.ClientConn,
	invoke grpc.UnaryInvoker, options ...grpc.CallOption) error {
	if method == pb.Auth_Authenticate_FullMethodName {
		return invoke(ctx, method, request, response, conn, options...)
	}
	for again := false; ; again = true {
		with, token, err := l.with(ctx, conn)
		if err != nil {
			return err
		}
		if err = invoke(with, method, request, response, conn, options...); !l.refused(token, err) || again {
			return err
		}
	}
}

func (l *login) stream(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string,
	open grpc.Streamer, options ...grpc.CallOption) (grpc.ClientStream, error) {
	with, token, err := l.with(ctx, conn)
	if err != nil {
		return nil, err
	}
	stream, err := open(with, desc, conn, method, options...)
	if err != nil {
		l.refused(token, err)
		return nil, err
	}
	return &loggedIn{ClientStream: stream, login: l, token: token}, nil
}

// loggedIn is a stream that was opened with a token.
type loggedIn struct {
	grpc.ClientStream
	login *login
	token *string
}

// RecvMsg receives a message. A watch that is refused for its token ends the whole stream: the client opens another
// one, with another token, and goes on with all watches where they were. Of a stream that stays, no watch could be had
// any more.
func (s *loggedIn) RecvMsg(message any) error {
	err := s.ClientStream.RecvMsg(message)
	if watched, ok := message.(*pb.WatchResponse); ok && err == nil && watched.Canceled && watched.CancelReason != "" {
		if reason := errors.New(watched.CancelReason); s.login.refused(s.token, reason) {
			return status.Error(codes.Unavailable, fmt.Sprintf("the stream of watches begins anew: %v", reason))
		}
		return nil
	}
	s.login.refused(s.token, err)
	return err
}
