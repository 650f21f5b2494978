// Package datastore keeps the cluster's objects for the API server, which
// speaks the etcd v3 protocol and needs no more of it than a single-node
// cluster uses: reads at a revision, guarded writes, watches, compaction.
//
// K3s uses kine and SQLite in this place. SQLite without cgo is several times
// slower on 32-bit ARM and a megabyte-sized dependency; containerd already
// brings bbolt into this program. The whole state of a one-node cluster is a
// few megabytes, so it is served from memory and bbolt is only written.
package datastore

import (
	"slices"
	"sort"
	"sync"

	"github.com/google/btree"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// Record is one version of one key. Records are never changed once stored.
type Record struct {
	Key     string
	Value   []byte
	Create  int64
	Mod     int64
	Version int64
	// Lease is the Unix time, in seconds, at which the key expires; 0 is never.
	Lease int64
	// Deleted marks a tombstone.
	Deleted bool
}

// Change is one revision of the store, as watchers see it.
type Change struct {
	Record   *Record
	Previous *Record
}

type history struct {
	key      string
	versions []*Record
}

func (h *history) last() *Record { return h.versions[len(h.versions)-1] }

func (h *history) at(revision int64) *Record {
	i := sort.Search(len(h.versions), func(i int) bool { return h.versions[i].Mod > revision })
	if i == 0 {
		return nil
	}
	return h.versions[i-1]
}

// Store is a multi-version map from key to value. It is safe for concurrent
// use.
type Store struct {
	mu        sync.RWMutex
	revision  int64
	compacted int64
	keys      *btree.BTreeG[*history]
	log       []Change
	changed   chan struct{}
	dirty     map[string]*Record
}

func newStore(revision int64) *Store {
	return &Store{
		revision:  revision,
		compacted: revision,
		keys:      btree.NewG(32, func(a, b *history) bool { return a.key < b.key }),
		changed:   make(chan struct{}),
		dirty:     map[string]*Record{},
	}
}

// Revision is the revision of the last change.
func (s *Store) Revision() int64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.revision
}

// Query selects keys from Key up to and without End. An empty End selects Key
// alone; End "\x00" selects everything from Key on. Revision 0 is now.
type Query struct {
	Key, End string
	Revision int64
	Limit    int64
}

func (q Query) covers(key string) bool {
	switch q.End {
	case "":
		return key == q.Key
	case "\x00":
		return key >= q.Key
	}
	return key >= q.Key && key < q.End
}

// Read returns the selected records in key order, at most Limit of them, how
// many there are in all, and the store's revision.
func (s *Store) Read(q Query) (found []*Record, count, revision int64, err error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.read(q)
}

func (s *Store) read(q Query) (found []*Record, count, revision int64, err error) {
	at := q.Revision
	switch {
	case at <= 0:
		at = s.revision
	case at > s.revision:
		return nil, 0, s.revision, rpctypes.ErrGRPCFutureRev
	case at < s.compacted:
		return nil, 0, s.revision, rpctypes.ErrGRPCCompacted
	}
	s.keys.AscendGreaterOrEqual(&history{key: q.Key}, func(h *history) bool {
		if !q.covers(h.key) {
			return false
		}
		if record := h.at(at); record != nil && !record.Deleted {
			count++
			if q.Limit <= 0 || int64(len(found)) < q.Limit {
				found = append(found, record)
			}
		}
		return true
	})
	return found, count, s.revision, nil
}

func (s *Store) current(key string) *Record {
	h, ok := s.keys.Get(&history{key: key})
	if !ok || h.last().Deleted {
		return nil
	}
	return h.last()
}

// put stores a value. The caller holds the lock.
func (s *Store) put(key string, value []byte, lease int64) (previous *Record) {
	previous = s.current(key)
	next := &Record{Key: key, Value: value, Lease: lease, Create: s.revision + 1, Version: 1}
	if previous != nil {
		next.Create, next.Version = previous.Create, previous.Version+1
	}
	s.append(next, previous)
	return previous
}

// remove deletes a key, if it is there. The caller holds the lock.
func (s *Store) remove(key string) (previous *Record) {
	previous = s.current(key)
	if previous != nil {
		s.append(&Record{Key: key, Deleted: true}, previous)
	}
	return previous
}

func (s *Store) append(record, previous *Record) {
	s.revision++
	record.Mod = s.revision
	h, ok := s.keys.Get(&history{key: record.Key})
	if !ok {
		h = &history{key: record.Key}
		s.keys.ReplaceOrInsert(h)
	}
	h.versions = append(h.versions, record)
	s.log = append(s.log, Change{Record: record, Previous: previous})
	s.dirty[record.Key] = record
	close(s.changed)
	s.changed = make(chan struct{})
}

// load places a record read from disk, without a revision of its own.
func (s *Store) load(record *Record) {
	s.keys.ReplaceOrInsert(&history{key: record.Key, versions: []*Record{record}})
}

// Since returns the changes from revision on that q selects, the revision to
// ask for next, and a channel that is closed at the next change.
func (s *Store) Since(q Query, revision int64) (changes []Change, next int64, more <-chan struct{}, err error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if revision < s.compacted {
		return nil, s.compacted, nil, rpctypes.ErrGRPCCompacted
	}
	first := sort.Search(len(s.log), func(i int) bool { return s.log[i].Record.Mod >= revision })
	for _, change := range s.log[first:] {
		if q.covers(change.Record.Key) {
			changes = append(changes, change)
		}
	}
	return changes, max(s.revision+1, revision), s.changed, nil
}

// Compact forgets versions that were superseded before revision.
func (s *Store) Compact(revision int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if revision <= s.compacted {
		return rpctypes.ErrGRPCCompacted
	}
	if revision > s.revision {
		return rpctypes.ErrGRPCFutureRev
	}
	s.compacted = revision
	// A watch may still start at the compacted revision itself.
	first := sort.Search(len(s.log), func(i int) bool { return s.log[i].Record.Mod >= revision })
	touched := map[string]bool{}
	for _, change := range s.log[:first] {
		touched[change.Record.Key] = true
	}
	s.log = slices.Clone(s.log[first:])
	for key := range touched {
		s.trim(key)
	}
	return nil
}

func (s *Store) trim(key string) {
	h, ok := s.keys.Get(&history{key: key})
	if !ok {
		return
	}
	keep := sort.Search(len(h.versions), func(i int) bool { return h.versions[i].Mod > s.compacted })
	if keep > 0 && !h.versions[keep-1].Deleted {
		keep--
	}
	h.versions = slices.Clone(h.versions[keep:])
	if len(h.versions) == 0 {
		s.keys.Delete(h)
	}
}

// expire removes keys whose lease ended before now, a Unix time in seconds.
func (s *Store) expire(now int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var ended []string
	s.keys.Ascend(func(h *history) bool {
		if r := h.last(); !r.Deleted && r.Lease != 0 && r.Lease < now {
			ended = append(ended, h.key)
		}
		return true
	})
	for _, key := range ended {
		s.remove(key)
	}
}

// takeDirty returns what changed since the last call and the revision reached.
func (s *Store) takeDirty() (map[string]*Record, int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	dirty := s.dirty
	s.dirty = map[string]*Record{}
	return dirty, s.revision
}
