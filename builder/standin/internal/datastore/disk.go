package datastore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	bolt "go.etcd.io/bbolt"
)

const (
	// A power cut loses at most this much, as K3s's SQLite (write-ahead log,
	// synchronous=NORMAL) may lose its last commits too. What is left is
	// always the state at one revision.
	flushEvery  = 200 * time.Millisecond
	expireEvery = 30 * time.Second
	// Clients may have seen revisions that were lost with the power. Revisions
	// go on well above them, so that none is ever used twice.
	revisionGap = 10_000
)

var (
	bucketKeys   = []byte("keys")
	bucketMeta   = []byte("meta")
	metaRevision = []byte("revision")
	metaClean    = []byte("clean")
)

// Disk is a Store kept in a bbolt file.
type Disk struct {
	*Store
	db *bolt.DB
}

// Open reads the store in the given file, which is made if it is not there.
func Open(path string) (*Disk, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: 10 * time.Second, NoFreelistSync: true})
	if err != nil {
		return nil, fmt.Errorf("open datastore %s: %w", path, err)
	}
	disk := &Disk{db: db}
	if err := db.Update(disk.restore); err != nil {
		return nil, errors.Join(fmt.Errorf("read datastore %s: %w", path, err), db.Close())
	}
	return disk, nil
}

func (d *Disk) restore(tx *bolt.Tx) error {
	meta, err := tx.CreateBucketIfNotExists(bucketMeta)
	if err != nil {
		return err
	}
	keys, err := tx.CreateBucketIfNotExists(bucketKeys)
	if err != nil {
		return err
	}
	revision := int64(1)
	if stored := meta.Get(metaRevision); len(stored) == 8 {
		revision = int64(binary.BigEndian.Uint64(stored))
		if meta.Get(metaClean) == nil {
			revision += revisionGap
		}
	}
	// Changes from before are not kept. A watch that would have to see the
	// last of them must be refused, one that starts after it must not.
	revision++
	d.Store = newStore(revision)
	err = keys.ForEach(func(key, data []byte) error {
		record, err := decode(string(key), data)
		if err == nil {
			d.load(record)
		}
		return err
	})
	if err != nil {
		return err
	}
	return meta.Delete(metaClean)
}

// Run writes changes to disk and expires leases until ctx ends, then writes
// the rest and closes the file.
func (d *Disk) Run(ctx context.Context) error {
	flush, expire := time.NewTicker(flushEvery), time.NewTicker(expireEvery)
	defer flush.Stop()
	defer expire.Stop()
	for {
		select {
		case <-ctx.Done():
			return errors.Join(d.flush(true), d.db.Close())
		case <-expire.C:
			d.expire(time.Now().Unix())
		case <-flush.C:
			if err := d.flush(false); err != nil {
				return errors.Join(err, d.db.Close())
			}
		}
	}
}

func (d *Disk) flush(last bool) error {
	dirty, revision := d.takeDirty()
	if len(dirty) == 0 && !last {
		return nil
	}
	err := d.db.Update(func(tx *bolt.Tx) error {
		keys, meta := tx.Bucket(bucketKeys), tx.Bucket(bucketMeta)
		for key, record := range dirty {
			var err error
			if record.Deleted {
				err = keys.Delete([]byte(key))
			} else {
				err = keys.Put([]byte(key), encode(record))
			}
			if err != nil {
				return err
			}
		}
		if last {
			if err := meta.Put(metaClean, []byte{1}); err != nil {
				return err
			}
		}
		return meta.Put(metaRevision, binary.BigEndian.AppendUint64(nil, uint64(revision)))
	})
	if err != nil {
		return fmt.Errorf("write datastore: %w", err)
	}
	return nil
}

// Size is the size of the file in bytes.
func (d *Disk) Size() int64 {
	info, err := os.Stat(d.db.Path())
	if err != nil {
		return 0
	}
	return info.Size()
}

const headerSize = 4 * 8

func encode(r *Record) []byte {
	data := make([]byte, 0, headerSize+len(r.Value))
	for _, n := range []int64{r.Create, r.Mod, r.Version, r.Lease} {
		data = binary.BigEndian.AppendUint64(data, uint64(n))
	}
	return append(data, r.Value...)
}

func decode(key string, data []byte) (*Record, error) {
	if len(data) < headerSize {
		return nil, fmt.Errorf("key %q: %d bytes, expected at least %d", key, len(data), headerSize)
	}
	number := func(i int) int64 { return int64(binary.BigEndian.Uint64(data[8*i:])) }
	return &Record{
		Key: key, Create: number(0), Mod: number(1), Version: number(2), Lease: number(3),
		Value: append([]byte(nil), data[headerSize:]...),
	}, nil
}
