// Package settings reads K3s's command line and configuration files.
package settings

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"

	"sigs.k8s.io/yaml"
)

// Value is one key of the configuration files, with all its items.
type Value struct {
	Key   string
	Items []string
	File  string
}

// ReadFiles merges a configuration file and the *.yaml files of the folder
// beside it that is named after it, in alphabetical order. A key replaces its
// earlier value; a key written with a trailing + adds to it. The file may be
// missing unless it is required.
func ReadFiles(path string, required bool) ([]Value, error) {
	files, err := filepath.Glob(filepath.Join(path+".d", "*.yaml"))
	if err != nil {
		return nil, err
	}
	sort.Strings(files)
	if _, err := os.Stat(path); err == nil || required {
		files = append([]string{path}, files...)
	} else if !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	merged := map[string]Value{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		if err := merge(merged, file, data); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
	}
	values := make([]Value, 0, len(merged))
	for _, value := range merged {
		values = append(values, value)
	}
	sort.Slice(values, func(i, j int) bool { return values[i].Key < values[j].Key })
	return values, nil
}

func merge(merged map[string]Value, file string, data []byte) error {
	content := map[string]any{}
	if err := yaml.Unmarshal(data, &content); err != nil {
		return err
	}
	for key, raw := range content {
		items, err := itemsOf(raw)
		if err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		if name, adds := strings.CutSuffix(key, "+"); adds {
			key, items = name, append(merged[name].Items, items...)
		}
		merged[key] = Value{Key: key, Items: items, File: file}
	}
	return nil
}

func itemsOf(raw any) ([]string, error) {
	if list, ok := raw.([]any); ok {
		var items []string
		for _, element := range list {
			item, err := scalar(element)
			if err != nil {
				return nil, err
			}
			items = append(items, item)
		}
		return items, nil
	}
	item, err := scalar(raw)
	return []string{item}, err
}

func scalar(raw any) (string, error) {
	switch value := raw.(type) {
	case string:
		return value, nil
	case bool:
		return strconv.FormatBool(value), nil
	case float64:
		return strconv.FormatFloat(value, 'f', -1, 64), nil
	case nil:
		return "", nil
	}
	return "", fmt.Errorf("expected a text, number, boolean, or list of them, got %T", raw)
}
