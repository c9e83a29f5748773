package embedded

import (
	"context"
	"slices"
	"sync/atomic"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/etcd/server/v3/etcdserver"
	"google.golang.org/grpc"
)

// refuser refuses what writes while etcd has the alarm NOSPACE, before it is written to the write-ahead log: etcd
// itself would only refuse it after that.
type refuser struct {
	server atomic.Pointer[etcdserver.EtcdServer]
}

func (r *refuser) option() grpc.ServerOption {
	return grpc.ChainUnaryInterceptor(func(ctx context.Context, request any, _ *grpc.UnaryServerInfo,
		next grpc.UnaryHandler) (any, error) {
		if adds(request) && r.refuses() {
			return nil, rpctypes.ErrGRPCNoSpace
		}
		return next(ctx, request)
	})
}

func (r *refuser) refuses() bool {
	server := r.server.Load()
	return server != nil && noSpace(server, func(uint64) bool { return true })
}

// noSpace is true while one of the members that are meant has the alarm NOSPACE.
func noSpace(server *etcdserver.EtcdServer, meant func(member uint64) bool) bool {
	return slices.ContainsFunc(server.Alarms(), func(a *etcdserverpb.AlarmMember) bool {
		return a.Alarm == etcdserverpb.AlarmType_NOSPACE && meant(a.MemberID)
	})
}

// adds is true for requests that leave more in etcd than there was.
func adds(request any) bool {
	switch q := request.(type) {
	case *etcdserverpb.PutRequest, *etcdserverpb.LeaseGrantRequest:
		return true
	case *etcdserverpb.TxnRequest:
		return slices.ContainsFunc(q.Success, opAdds) || slices.ContainsFunc(q.Failure, opAdds)
	}
	return false
}

func opAdds(op *etcdserverpb.RequestOp) bool {
	if inner := op.GetRequestTxn(); inner != nil {
		return adds(inner)
	}
	return op.GetRequestPut() != nil
}
