package bundle

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

type entry struct{ name, link, content string }

func pack(t *testing.T, entries ...entry) func() (io.ReadCloser, error) {
	t.Helper()
	var packed bytes.Buffer
	compressor, err := zstd.NewWriter(&packed, zstd.WithWindowSize(window))
	if err != nil {
		t.Fatal(err)
	}
	archive := tar.NewWriter(compressor)
	for _, e := range entries {
		header := &tar.Header{Name: e.name, Mode: 0o755, Size: int64(len(e.content)), Typeflag: tar.TypeReg}
		if e.link != "" {
			header.Typeflag, header.Linkname = tar.TypeSymlink, e.link
		} else if strings.HasSuffix(e.name, "/") {
			header.Typeflag = tar.TypeDir
		}
		if err := archive.WriteHeader(header); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(archive, e.content); err != nil {
			t.Fatal(err)
		}
	}
	archive.Close()
	compressor.Close()
	return func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(packed.Bytes())), nil }
}

func good() []entry {
	sum := fmt.Sprintf("%x", sha256.Sum256([]byte("program")))
	return []entry{
		{name: "bin/"},
		{name: "bin/k3s", content: "program"},
		{name: "bin/kubectl", link: "k3s"},
		{name: "bin/.sha256sums", content: sum + "  k3s\n"},
		{name: "bin/.links", content: "kubectl k3s\n"},
	}
}

func TestUnpacksOnce(t *testing.T) {
	data := t.TempDir()
	dir, err := Ensure(data, "abc", pack(t, good()...))
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(filepath.Join(dir, "bin", "kubectl"))
	if err != nil || string(content) != "program" {
		t.Errorf("%q, %v", content, err)
	}
	again, err := Ensure(data, "abc", func() (io.ReadCloser, error) {
		t.Error("unpacked again")
		return nil, os.ErrInvalid
	})
	if err != nil || again != dir {
		t.Errorf("%s, %v", again, err)
	}
}

func TestNothingIsLeftOfABadBundle(t *testing.T) {
	altered := good()
	altered[1].content = "altered"
	relinked := good()
	relinked[2].link = "elsewhere"
	outside := append(good(), entry{name: "../outside", content: "x"})
	for name, entries := range map[string][]entry{"altered": altered, "relinked": relinked, "outside": outside} {
		data := t.TempDir()
		if _, err := Ensure(data, "abc", pack(t, entries...)); err == nil {
			t.Errorf("%s: passed", name)
		}
		if left, _ := filepath.Glob(filepath.Join(data, "data", "abc*")); len(left) != 0 {
			t.Errorf("%s: left %q", name, left)
		}
	}
}
