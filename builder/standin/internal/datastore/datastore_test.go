package datastore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// open starts a datastore in a file and returns a client of it. The function
// that it returns stops both.
func open(t *testing.T, path string) (*clientv3.Client, func()) {
	t.Helper()
	disk, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	socket := filepath.Join(t.TempDir(), "socket")
	running := make(chan error, 2)
	go func() { running <- disk.Run(ctx) }()
	go func() { running <- Serve(ctx, disk, socket) }()
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{"unix://" + socket}, DialTimeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return client, func() {
		client.Close()
		cancel()
		for range 2 {
			if err := <-running; err != nil {
				t.Error(err)
			}
		}
	}
}

func create(t *testing.T, client *clientv3.Client, key, value string) int64 {
	t.Helper()
	answer, err := client.Txn(t.Context()).
		If(clientv3.Compare(clientv3.ModRevision(key), "=", 0)).
		Then(clientv3.OpPut(key, value)).Commit()
	if err != nil || !answer.Succeeded {
		t.Fatalf("create %s: %v, %v", key, answer, err)
	}
	return answer.Header.Revision
}

func TestGuardedWrites(t *testing.T) {
	client, stop := open(t, filepath.Join(t.TempDir(), "db"))
	defer stop()
	revision := create(t, client, "/a", "1")
	update := func(at int64) *clientv3.TxnResponse {
		answer, err := client.Txn(t.Context()).
			If(clientv3.Compare(clientv3.ModRevision("/a"), "=", at)).
			Then(clientv3.OpPut("/a", "2")).
			Else(clientv3.OpGet("/a")).Commit()
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
	stale := update(revision - 1)
	if stale.Succeeded || string(stale.Responses[0].GetResponseRange().Kvs[0].Value) != "1" {
		t.Errorf("a stale write: %v", stale)
	}
	if !update(revision).Succeeded {
		t.Error("a good write failed")
	}
	got, err := client.Get(t.Context(), "/a")
	if err != nil || got.Kvs[0].Version != 2 || got.Kvs[0].CreateRevision != revision {
		t.Errorf("%v, %v", got, err)
	}
}

func TestListPagesAtOneRevision(t *testing.T) {
	client, stop := open(t, filepath.Join(t.TempDir(), "db"))
	defer stop()
	for i := range 5 {
		create(t, client, fmt.Sprintf("/pods/%d", i), "x")
	}
	create(t, client, "/podsx", "x")
	first, err := client.Get(t.Context(), "/pods/", clientv3.WithPrefix(), clientv3.WithLimit(3))
	if err != nil || len(first.Kvs) != 3 || !first.More || first.Count != 5 {
		t.Fatalf("%v, %v", first, err)
	}
	if _, err := client.Delete(t.Context(), "/pods/4"); err != nil {
		t.Fatal(err)
	}
	next := string(first.Kvs[2].Key) + "\x00"
	rest, err := client.Get(t.Context(), next, clientv3.WithRange("/pods0"), clientv3.WithRev(first.Header.Revision))
	if err != nil || len(rest.Kvs) != 2 {
		t.Errorf("%v, %v", rest, err)
	}
	count, err := client.Get(t.Context(), "/pods/", clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil || count.Count != 4 || len(count.Kvs) != 0 {
		t.Errorf("%v, %v", count, err)
	}
}

func TestWatchSeesPastAndPresent(t *testing.T) {
	client, stop := open(t, filepath.Join(t.TempDir(), "db"))
	defer stop()
	revision := create(t, client, "/w/1", "a")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	events := client.Watch(ctx, "/w/", clientv3.WithPrefix(), clientv3.WithRev(revision), clientv3.WithPrevKV())
	create(t, client, "/other", "b")
	if _, err := client.Delete(ctx, "/w/1"); err != nil {
		t.Fatal(err)
	}
	var seen []string
	for answer := range events {
		for _, e := range answer.Events {
			before := ""
			if e.PrevKv != nil {
				before = string(e.PrevKv.Value)
			}
			seen = append(seen, fmt.Sprintf("%s %s before %q", e.Type, e.Kv.Key, before))
		}
		if len(seen) == 2 {
			break
		}
	}
	if got := fmt.Sprint(seen); got != `[PUT /w/1 before "" DELETE /w/1 before "a"]` {
		t.Error(got)
	}
}

func TestProgressOnRequest(t *testing.T) {
	client, stop := open(t, filepath.Join(t.TempDir(), "db"))
	defer stop()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	answers := client.Watch(ctx, "/w/", clientv3.WithPrefix(), clientv3.WithCreatedNotify())
	<-answers
	revision := create(t, client, "/other", "b")
	if err := client.RequestProgress(ctx); err != nil {
		t.Fatal(err)
	}
	answer := <-answers
	if !answer.IsProgressNotify() || answer.Header.Revision != revision {
		t.Errorf("%+v", answer)
	}
}

func TestCompaction(t *testing.T) {
	client, stop := open(t, filepath.Join(t.TempDir(), "db"))
	defer stop()
	old := create(t, client, "/a", "1")
	if _, err := client.Put(t.Context(), "/a", "2"); err != nil {
		t.Fatal(err)
	}
	now, err := client.Put(t.Context(), "/b", "1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Compact(t.Context(), now.Header.Revision); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Get(t.Context(), "/a", clientv3.WithRev(old)); !errors.Is(err, rpctypes.ErrCompacted) {
		t.Errorf("read before the compaction: %v", err)
	}
	if got, err := client.Get(t.Context(), "/a"); err != nil || string(got.Kvs[0].Value) != "2" {
		t.Errorf("%v, %v", got, err)
	}
	answer := <-client.Watch(t.Context(), "/a", clientv3.WithRev(old))
	if answer.CompactRevision != now.Header.Revision {
		t.Errorf("watch before the compaction: %+v", answer)
	}
}

func TestStateAndRevisionSurvive(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	client, stop := open(t, path)
	create(t, client, "/a", "1")
	create(t, client, "/gone", "1")
	deleted, err := client.Delete(t.Context(), "/gone")
	if err != nil {
		t.Fatal(err)
	}
	stop()
	client, stop = open(t, path)
	defer stop()
	all, err := client.Get(t.Context(), "/", clientv3.WithPrefix())
	if err != nil || len(all.Kvs) != 1 || all.Header.Revision != deleted.Header.Revision+1 {
		t.Errorf("%v, %v", all, err)
	}
	// A client that has seen everything may go on; one that has not, may not.
	if missed := <-client.Watch(t.Context(), "/", clientv3.WithPrefix(), clientv3.WithRev(deleted.Header.Revision)); missed.CompactRevision == 0 {
		t.Errorf("a watch from a lost change: %+v", missed)
	}
	events := client.Watch(t.Context(), "/", clientv3.WithPrefix(), clientv3.WithRev(deleted.Header.Revision+1))
	create(t, client, "/b", "1")
	if next := <-events; len(next.Events) != 1 {
		t.Errorf("a watch from the last change on: %+v", next)
	}
}

func TestRevisionsGoOnAbovePowerCut(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	disk, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	disk.put("/a", []byte("1"), 0)
	if err := disk.flush(false); err != nil {
		t.Fatal(err)
	}
	disk.put("/lost", []byte("1"), 0)
	lost := disk.Revision()
	disk.db.Close()
	disk, err = Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer disk.db.Close()
	if disk.Revision() <= lost || disk.current("/a") == nil || disk.current("/lost") != nil {
		t.Errorf("revision %d, %v, %v", disk.Revision(), disk.current("/a"), disk.current("/lost"))
	}
}

func TestLeasesEnd(t *testing.T) {
	s := newStore(1)
	s.put("/event", nil, 100)
	s.put("/pod", nil, 0)
	s.expire(101)
	if s.current("/event") != nil || s.current("/pod") == nil {
		t.Error("only what has a lease that ended expires")
	}
}

func TestCheckFindsDamage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	client, stop := open(t, path)
	for n := range 300 {
		create(t, client, fmt.Sprintf("/registry/pods/%d", n), strings.Repeat("x", 2000))
	}
	stop()
	if records, err := Check(path); err != nil || records != 300 {
		t.Fatalf("%d records, %v", records, err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for at := 4 * 4096; at < len(data); at += 4096 {
		copy(data[at:at+64], make([]byte, 64))
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Check(path); err == nil {
		t.Fatal("damage was not found")
	}
}
