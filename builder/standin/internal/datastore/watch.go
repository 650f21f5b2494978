package datastore

import (
	"context"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
)

const progressEvery = 10 * time.Minute

// Watch serves one client stream, which may carry many watches.
func (s *service) Watch(stream pb.Watch_WatchServer) error {
	ctx, cancel := context.WithCancel(stream.Context())
	session := &session{store: s.disk.Store, stream: stream, watches: map[int64]*watch{}}
	defer session.running.Wait()
	defer cancel()
	for {
		request, err := stream.Recv()
		if err != nil {
			return nil //nolint:nilerr // the client has gone, and that is how watches end
		}
		switch r := request.RequestUnion.(type) {
		case *pb.WatchRequest_CreateRequest:
			session.create(ctx, r.CreateRequest)
		case *pb.WatchRequest_CancelRequest:
			session.cancel(r.CancelRequest.WatchId)
		case *pb.WatchRequest_ProgressRequest:
			session.progress()
		}
	}
}

// session is the watches of one stream.
type session struct {
	store   *Store
	stream  pb.Watch_WatchServer
	running sync.WaitGroup

	sending sync.Mutex // a stream takes one message at a time

	mu      sync.Mutex
	nextID  int64
	watches map[int64]*watch
}

type watch struct {
	id       int64
	query    Query
	previous bool
	progress bool
	noPut    bool
	noDelete bool
	stop     context.CancelFunc

	// next is the first revision that was not sent yet.
	mu   sync.Mutex
	next int64
}

func (s *session) send(r *pb.WatchResponse) error {
	s.sending.Lock()
	defer s.sending.Unlock()
	return s.stream.Send(r)
}

func (s *session) create(ctx context.Context, r *pb.WatchCreateRequest) {
	now := s.store.Revision()
	w := &watch{
		query:    Query{Key: string(r.Key), End: string(r.RangeEnd)},
		next:     r.StartRevision,
		previous: r.PrevKv,
		progress: r.ProgressNotify,
	}
	if w.next <= 0 {
		w.next = now + 1
	}
	for _, filter := range r.Filters {
		w.noPut = w.noPut || filter == pb.WatchCreateRequest_NOPUT
		w.noDelete = w.noDelete || filter == pb.WatchCreateRequest_NODELETE
	}
	ctx, w.stop = context.WithCancel(ctx)
	s.mu.Lock()
	w.id = s.nextID
	s.nextID++
	s.watches[w.id] = w
	s.mu.Unlock()
	if s.send(&pb.WatchResponse{Header: header(now), WatchId: w.id, Created: true}) != nil {
		return
	}
	s.running.Go(func() { s.follow(ctx, w) })
}

func (s *session) cancel(id int64) {
	s.mu.Lock()
	w := s.watches[id]
	delete(s.watches, id)
	s.mu.Unlock()
	if w == nil {
		return
	}
	w.stop()
	_ = s.send(&pb.WatchResponse{Header: header(s.store.Revision()), WatchId: id, Canceled: true})
}

// follow sends changes as they happen, until ctx ends or the watch falls
// behind a compaction.
func (s *session) follow(ctx context.Context, w *watch) {
	ticker := time.NewTicker(progressEvery)
	defer ticker.Stop()
	for {
		more, err := s.sendNew(w)
		if err != nil {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-more:
		case <-ticker.C:
			if w.progress && s.send(&pb.WatchResponse{Header: header(w.sent()), WatchId: w.id}) != nil {
				return
			}
		}
	}
}

func (w *watch) sent() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.next - 1
}

// sendNew sends what changed since the last call. The watch stays locked while
// it sends, so that a progress message never overtakes an event.
func (s *session) sendNew(w *watch) (<-chan struct{}, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	changes, next, more, err := s.store.Since(w.query, w.next)
	if err != nil {
		_ = s.send(&pb.WatchResponse{
			Header: header(s.store.Revision()), WatchId: w.id,
			Canceled: true, CompactRevision: next, CancelReason: err.Error(),
		})
		return nil, err
	}
	events := w.events(changes)
	if len(events) != 0 {
		err = s.send(&pb.WatchResponse{Header: header(next - 1), WatchId: w.id, Events: events})
		if err != nil {
			return nil, err
		}
	}
	w.next = next
	return more, nil
}

func (w *watch) events(changes []Change) []*mvccpb.Event {
	var events []*mvccpb.Event
	for _, change := range changes {
		event := &mvccpb.Event{Kv: keyValue(change.Record, false)}
		if change.Record.Deleted {
			event.Type = mvccpb.DELETE
		}
		if (w.noDelete && change.Record.Deleted) || (w.noPut && !change.Record.Deleted) {
			continue
		}
		if w.previous && change.Previous != nil {
			event.PrevKv = keyValue(change.Previous, false)
		}
		events = append(events, event)
	}
	return events
}

// progress tells the client a revision up to which every watch of the stream
// has sent everything. etcd addresses that message to watch -1, all of them.
func (s *session) progress() {
	s.mu.Lock()
	watches := make([]*watch, 0, len(s.watches))
	for _, w := range s.watches {
		watches = append(watches, w)
	}
	s.mu.Unlock()
	revision := s.store.Revision()
	for _, w := range watches {
		if _, err := s.sendNew(w); err != nil {
			return
		}
		revision = min(revision, w.sent())
	}
	_ = s.send(&pb.WatchResponse{Header: header(revision), WatchId: -1})
}
