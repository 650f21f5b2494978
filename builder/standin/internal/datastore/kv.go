package datastore

import (
	"context"
	"fmt"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// service answers etcd's gRPC calls from a Disk. Calls that the API server
// does not make are left to the embedded interfaces' "unimplemented" answers.
type service struct {
	pb.UnimplementedKVServer
	pb.UnimplementedLeaseServer
	pb.UnimplementedMaintenanceServer
	pb.UnimplementedWatchServer
	disk *Disk
}

func header(revision int64) *pb.ResponseHeader {
	return &pb.ResponseHeader{Revision: revision, ClusterId: 1, MemberId: 1, RaftTerm: 1}
}

func unsupported(format string, args ...any) error {
	return status.Error(codes.Unimplemented, "datastore: "+fmt.Sprintf(format, args...))
}

func (s *service) Range(_ context.Context, r *pb.RangeRequest) (*pb.RangeResponse, error) {
	s.disk.mu.RLock()
	defer s.disk.mu.RUnlock()
	return s.rangeLocked(r)
}

func (s *service) rangeLocked(r *pb.RangeRequest) (*pb.RangeResponse, error) {
	if r.SortOrder == pb.RangeRequest_DESCEND || r.MinModRevision != 0 || r.MaxModRevision != 0 {
		return nil, unsupported("range options %v", r)
	}
	limit := r.Limit
	if r.CountOnly {
		limit = 1
	}
	found, count, revision, err := s.disk.read(Query{
		Key: string(r.Key), End: string(r.RangeEnd), Revision: r.Revision, Limit: limit,
	})
	if err != nil {
		return nil, err
	}
	response := &pb.RangeResponse{Header: header(revision), Count: count}
	if r.CountOnly {
		return response, nil
	}
	for _, record := range found {
		response.Kvs = append(response.Kvs, keyValue(record, r.KeysOnly))
	}
	response.More = int64(len(found)) < count
	return response, nil
}

func keyValue(r *Record, keyOnly bool) *mvccpb.KeyValue {
	kv := &mvccpb.KeyValue{
		Key: []byte(r.Key), Value: r.Value, Lease: r.Lease,
		CreateRevision: r.Create, ModRevision: r.Mod, Version: r.Version,
	}
	if keyOnly || r.Deleted {
		kv.Value = nil
	}
	return kv
}

// Txn runs one compare-and-act step. All of it happens at one moment, and the
// API server never writes more than one key in it.
func (s *service) Txn(_ context.Context, r *pb.TxnRequest) (*pb.TxnResponse, error) {
	s.disk.mu.Lock()
	defer s.disk.mu.Unlock()
	succeeded := true
	for _, c := range r.Compare {
		holds, err := s.holds(c)
		if err != nil {
			return nil, err
		}
		succeeded = succeeded && holds
	}
	operations := r.Success
	if !succeeded {
		operations = r.Failure
	}
	response := &pb.TxnResponse{Succeeded: succeeded}
	for _, operation := range operations {
		answer, err := s.perform(operation)
		if err != nil {
			return nil, err
		}
		response.Responses = append(response.Responses, answer)
	}
	response.Header = header(s.disk.revision)
	return response, nil
}

func (s *service) holds(c *pb.Compare) (bool, error) {
	if c.Result != pb.Compare_EQUAL || len(c.RangeEnd) != 0 {
		return false, unsupported("comparison %v", c)
	}
	record := s.disk.current(string(c.Key))
	if record == nil {
		record = &Record{}
	}
	switch c.Target {
	case pb.Compare_MOD:
		return record.Mod == c.GetModRevision(), nil
	case pb.Compare_CREATE:
		return record.Create == c.GetCreateRevision(), nil
	case pb.Compare_VERSION:
		return record.Version == c.GetVersion(), nil
	}
	return false, unsupported("comparison of %v", c.Target)
}

func (s *service) perform(operation *pb.RequestOp) (*pb.ResponseOp, error) {
	switch r := operation.Request.(type) {
	case *pb.RequestOp_RequestRange:
		response, err := s.rangeLocked(r.RequestRange)
		return &pb.ResponseOp{Response: &pb.ResponseOp_ResponseRange{ResponseRange: response}}, err
	case *pb.RequestOp_RequestPut:
		response := s.putLocked(r.RequestPut)
		return &pb.ResponseOp{Response: &pb.ResponseOp_ResponsePut{ResponsePut: response}}, nil
	case *pb.RequestOp_RequestDeleteRange:
		response, err := s.deleteLocked(r.RequestDeleteRange)
		return &pb.ResponseOp{Response: &pb.ResponseOp_ResponseDeleteRange{ResponseDeleteRange: response}}, err
	}
	return nil, unsupported("operation %T", operation.Request)
}

func (s *service) Put(_ context.Context, r *pb.PutRequest) (*pb.PutResponse, error) {
	s.disk.mu.Lock()
	defer s.disk.mu.Unlock()
	return s.putLocked(r), nil
}

func (s *service) putLocked(r *pb.PutRequest) *pb.PutResponse {
	previous := s.disk.put(string(r.Key), r.Value, r.Lease)
	response := &pb.PutResponse{Header: header(s.disk.revision)}
	if r.PrevKv && previous != nil {
		response.PrevKv = keyValue(previous, false)
	}
	return response
}

func (s *service) DeleteRange(_ context.Context, r *pb.DeleteRangeRequest) (*pb.DeleteRangeResponse, error) {
	s.disk.mu.Lock()
	defer s.disk.mu.Unlock()
	return s.deleteLocked(r)
}

func (s *service) deleteLocked(r *pb.DeleteRangeRequest) (*pb.DeleteRangeResponse, error) {
	if len(r.RangeEnd) != 0 {
		return nil, unsupported("deleting a range of keys")
	}
	response := &pb.DeleteRangeResponse{}
	if previous := s.disk.remove(string(r.Key)); previous != nil {
		response.Deleted = 1
		if r.PrevKv {
			response.PrevKvs = []*mvccpb.KeyValue{keyValue(previous, false)}
		}
	}
	response.Header = header(s.disk.revision)
	return response, nil
}

func (s *service) Compact(_ context.Context, r *pb.CompactionRequest) (*pb.CompactionResponse, error) {
	if err := s.disk.Store.Compact(r.Revision); err != nil {
		return nil, err
	}
	return &pb.CompactionResponse{Header: header(s.disk.Revision())}, nil
}

// LeaseGrant returns a lease that is nothing but its own expiry time, so that
// leases need no storage.
func (s *service) LeaseGrant(_ context.Context, r *pb.LeaseGrantRequest) (*pb.LeaseGrantResponse, error) {
	expiry := time.Now().Unix() + r.TTL
	return &pb.LeaseGrantResponse{Header: header(s.disk.Revision()), ID: expiry, TTL: r.TTL}, nil
}

// Status claims an etcd version: the API server asks watches for progress, and
// with that serves lists from its cache, only from 3.5.13 on.
func (s *service) Status(context.Context, *pb.StatusRequest) (*pb.StatusResponse, error) {
	size := s.disk.Size()
	return &pb.StatusResponse{
		Header: header(s.disk.Revision()), Version: "3.6.8", DbSize: size, DbSizeInUse: size, Leader: 1,
	}, nil
}
