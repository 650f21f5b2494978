package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/klog/v2"
)

const (
	manifestsEvery = 15 * time.Second
	fieldManager   = "k3s-standin"
)

// deployer applies the files of the manifests folder whenever they change.
type deployer struct {
	dir     string
	client  dynamic.Interface
	mapper  *restmapper.DeferredDiscoveryRESTMapper
	applied map[string]time.Time
}

func newDeployer(dir string, config *rest.Config) (*deployer, error) {
	plain := rest.CopyConfig(config)
	plain.ContentType = ""
	client, err := dynamic.NewForConfig(plain)
	if err != nil {
		return nil, err
	}
	found, err := discovery.NewDiscoveryClientForConfig(plain)
	if err != nil {
		return nil, err
	}
	return &deployer{
		dir: dir, client: client, applied: map[string]time.Time{},
		mapper: restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(found)),
	}, os.MkdirAll(dir, 0o700)
}

// run looks at the folder now and then until ctx ends. A file that fails is
// tried again: it may be about something that another one brings.
func (d *deployer) run(ctx context.Context) error {
	ticker := time.NewTicker(manifestsEvery)
	defer ticker.Stop()
	for {
		d.applyChanged(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

func (d *deployer) applyChanged(ctx context.Context) {
	files, _ := filepath.Glob(filepath.Join(d.dir, "*.y*ml"))
	sort.Strings(files)
	for _, file := range files {
		info, err := os.Stat(file)
		if err != nil || d.applied[file].Equal(info.ModTime()) {
			continue
		}
		if err := d.applyFile(ctx, file); err != nil {
			klog.ErrorS(err, "manifest not applied, trying again", "file", file)
			d.mapper.Reset()
			continue
		}
		klog.InfoS("manifest applied", "file", file)
		d.applied[file] = info.ModTime()
	}
}

func (d *deployer) applyFile(ctx context.Context, path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	var problems []error
	decoder := yaml.NewYAMLOrJSONDecoder(file, 4096)
	for {
		item := &unstructured.Unstructured{}
		err := decoder.Decode(item)
		if errors.Is(err, io.EOF) {
			return errors.Join(problems...)
		}
		if err != nil {
			return errors.Join(append(problems, err)...)
		}
		if len(item.Object) == 0 {
			continue
		}
		if err := d.applyObject(ctx, item); err != nil {
			problems = append(problems, err)
		}
	}
}

func (d *deployer) applyObject(ctx context.Context, item *unstructured.Unstructured) error {
	if item.IsList() {
		return item.EachListItem(func(element runtime.Object) error {
			return d.applyObject(ctx, element.(*unstructured.Unstructured))
		})
	}
	kind := item.GroupVersionKind()
	mapping, err := d.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if err != nil {
		return err
	}
	var target dynamic.ResourceInterface = d.client.Resource(mapping.Resource)
	if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
		namespace := item.GetNamespace()
		if namespace == "" {
			namespace = metav1.NamespaceDefault
		}
		target = d.client.Resource(mapping.Resource).Namespace(namespace)
	}
	_, err = target.Apply(ctx, item.GetName(), item, metav1.ApplyOptions{FieldManager: fieldManager, Force: true})
	if err != nil {
		return fmt.Errorf("%s %s: %w", kind.Kind, item.GetName(), err)
	}
	return nil
}
