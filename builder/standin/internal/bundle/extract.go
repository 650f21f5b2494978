// Package bundle unpacks and checks the folder that the k3s wrapper carries.
package bundle

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"github.com/klauspost/compress/zstd"
)

// window is the largest that the asset's compression may need (--long=25).
const window = 1 << 25

// Ensure unpacks the asset to DATA/data/HASH, unless a complete folder is
// there already, and returns the folder.
func Ensure(dataDir, hash string, asset func() (io.ReadCloser, error)) (string, error) {
	parent := filepath.Join(dataDir, "data")
	dir := filepath.Join(parent, hash)
	if complete(dir) {
		return dir, nil
	}
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return "", err
	}
	unlock, err := lock(filepath.Join(parent, ".lock"))
	if err != nil {
		return "", err
	}
	defer unlock()
	if complete(dir) {
		return dir, nil
	}
	temporary := dir + "-tmp"
	defer os.RemoveAll(temporary)
	if err := os.RemoveAll(temporary); err != nil {
		return "", err
	}
	if err := unpack(asset, temporary); err != nil {
		return "", fmt.Errorf("unpack %s: %w", hash, err)
	}
	if err := Verify(filepath.Join(temporary, "bin")); err != nil {
		return "", err
	}
	if err := os.Rename(temporary, dir); err != nil {
		return "", err
	}
	return dir, pointTo(parent, dir)
}

func complete(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "bin", "k3s"))
	return err == nil
}

// pointTo moves the links "current" and "previous" on.
func pointTo(parent, dir string) error {
	current := filepath.Join(parent, "current")
	if err := os.Rename(current, filepath.Join(parent, "previous")); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return os.Symlink(dir, current)
}

func lock(path string) (func(), error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); err != nil {
		file.Close()
		return nil, err
	}
	return func() { file.Close() }, nil
}

func unpack(asset func() (io.ReadCloser, error), dir string) error {
	source, err := asset()
	if err != nil {
		return err
	}
	defer source.Close()
	decoder, err := zstd.NewReader(source, zstd.WithDecoderMaxWindow(window), zstd.WithDecoderConcurrency(1))
	if err != nil {
		return err
	}
	defer decoder.Close()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	for archive := tar.NewReader(decoder); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := place(root, header, archive); err != nil {
			return fmt.Errorf("%s: %w", header.Name, err)
		}
	}
}

// place makes one entry. os.Root refuses names that lead out of the folder.
func place(root *os.Root, header *tar.Header, content io.Reader) error {
	mode := os.FileMode(header.Mode).Perm()
	switch header.Typeflag {
	case tar.TypeDir:
		return root.MkdirAll(filepath.Clean(header.Name), mode)
	case tar.TypeSymlink:
		return root.Symlink(header.Linkname, header.Name)
	case tar.TypeReg:
		file, err := root.OpenFile(header.Name, os.O_CREATE|os.O_WRONLY|os.O_EXCL, mode)
		if err != nil {
			return err
		}
		_, err = io.Copy(file, content)
		return errors.Join(err, file.Sync(), file.Close())
	}
	return fmt.Errorf("entry of type %q", header.Typeflag)
}
