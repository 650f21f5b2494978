package datastore

import (
	"errors"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"
)

// Check reads a whole datastore that no server has open: its pages must fit
// together (bbolt's own check), and every record must be readable. It is what
// "PRAGMA integrity_check" is for K3s's SQLite. Returns the number of records.
func Check(path string) (records int, err error) {
	defer func() {
		// bbolt panics over pages that are none.
		if found := recover(); found != nil {
			err = fmt.Errorf("datastore %s is damaged: %v", path, found)
		}
	}()
	db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: time.Second, ReadOnly: true, PreLoadFreelist: true})
	if err != nil {
		return 0, fmt.Errorf("open datastore %s: %w", path, err)
	}
	defer db.Close()
	err = db.View(func(tx *bolt.Tx) error {
		var problems []error
		for problem := range tx.Check() {
			problems = append(problems, problem)
		}
		keys := tx.Bucket(bucketKeys)
		if keys == nil {
			return errors.Join(append(problems, errors.New("there is no bucket of keys"))...)
		}
		err := keys.ForEach(func(key, data []byte) error {
			records++
			_, err := decode(string(key), data)
			return err
		})
		return errors.Join(append(problems, err)...)
	})
	return records, err
}
