package bundle

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// Verify compares a folder with its lists of files (.sha256sums, lines of
// "hash  name") and of symbolic links (.links, lines of "name target").
func Verify(dir string) error {
	sums, err := pairs(filepath.Join(dir, ".sha256sums"))
	if err != nil {
		return err
	}
	links, err := pairs(filepath.Join(dir, ".links"))
	if err != nil {
		return err
	}
	var problems []error
	for _, line := range sums {
		expected, name := line[0], line[1]
		found, err := sum(filepath.Join(dir, name))
		if err == nil && found != expected {
			err = fmt.Errorf("%s: sha256 is %s, expected %s", name, found, expected)
		}
		problems = append(problems, err)
	}
	for _, line := range links {
		name, expected := line[0], line[1]
		found, err := os.Readlink(filepath.Join(dir, name))
		if err == nil && found != expected {
			err = fmt.Errorf("%s: points to %s, expected %s", name, found, expected)
		}
		problems = append(problems, err)
	}
	return errors.Join(problems...)
}

func pairs(path string) ([][2]string, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var found [][2]string
	scanner := bufio.NewScanner(file)
	for scanner.Scan() {
		fields := strings.Fields(scanner.Text())
		if len(fields) != 2 {
			return nil, fmt.Errorf("%s: %q is not two words", path, scanner.Text())
		}
		found = append(found, [2]string{fields[0], fields[1]})
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%s is empty", path)
	}
	return found, scanner.Err()
}

func sum(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	hash := sha256.New()
	_, err = io.Copy(hash, file)
	return hex.EncodeToString(hash.Sum(nil)), err
}
