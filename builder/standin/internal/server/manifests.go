package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
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
	dir string
	// dropped are files whose objects are to be deleted, and then the files.
	dropped []string
	client  dynamic.Interface
	mapper  *restmapper.DeferredDiscoveryRESTMapper
	applied map[string]time.Time
}

func newDeployer(dir string, dropped []string, config *rest.Config) (*deployer, error) {
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
		dir: dir, dropped: dropped, client: client, applied: map[string]time.Time{},
		mapper: restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(found)),
	}, nil
}

// run looks at the folder now and then until ctx ends. A file that fails is
// tried again: it may be about something that another one brings.
func (d *deployer) run(ctx context.Context) error {
	ticker := time.NewTicker(manifestsEvery)
	defer ticker.Stop()
	for {
		d.deleteDropped(ctx)
		d.applyChanged(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// deleteDropped deletes what disabled components had deployed.
func (d *deployer) deleteDropped(ctx context.Context) {
	d.dropped = slices.DeleteFunc(d.dropped, func(file string) bool {
		err := d.eachObject(file, func(item *unstructured.Unstructured) error { return d.deleteObject(ctx, item) })
		if err == nil {
			err = os.Remove(file)
		}
		if err != nil {
			klog.ErrorS(err, "objects of a disabled component not deleted, trying again", "file", file)
			return false
		}
		klog.InfoS("component deleted, it is disabled", "file", file)
		return true
	})
}

func (d *deployer) applyChanged(ctx context.Context) {
	files, _ := filepath.Glob(filepath.Join(d.dir, "*.y*ml"))
	sort.Strings(files)
	for _, file := range files {
		info, err := os.Stat(file)
		if err != nil || d.applied[file].Equal(info.ModTime()) || slices.Contains(d.dropped, file) {
			continue
		}
		err = d.eachObject(file, func(item *unstructured.Unstructured) error { return d.applyObject(ctx, item) })
		if err != nil {
			klog.ErrorS(err, "manifest not applied, trying again", "file", file)
			d.forget(err)
			continue
		}
		klog.InfoS("manifest applied", "file", file)
		d.applied[file] = info.ModTime()
	}
}

// forget makes the next attempt ask for the API's kinds again where one was
// missing. What failed otherwise, as on a slow machine, does not change them,
// and to list them all would make it slower.
func (d *deployer) forget(err error) {
	if meta.IsNoMatchError(err) {
		d.mapper.Reset()
	}
}

// eachObject calls do for all objects of a file, in their order.
func (d *deployer) eachObject(path string, do func(*unstructured.Unstructured) error) error {
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
		if err := do(item); err != nil {
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
	target, err := d.resource(item)
	if err != nil {
		return err
	}
	_, err = target.Apply(ctx, item.GetName(), item, metav1.ApplyOptions{FieldManager: fieldManager, Force: true})
	return named(item, err)
}

func (d *deployer) deleteObject(ctx context.Context, item *unstructured.Unstructured) error {
	target, err := d.resource(item)
	if err != nil {
		return err
	}
	background := metav1.DeletePropagationBackground
	err = target.Delete(ctx, item.GetName(), metav1.DeleteOptions{PropagationPolicy: &background})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return named(item, err)
}

// resource is where the API has an object.
func (d *deployer) resource(item *unstructured.Unstructured) (dynamic.ResourceInterface, error) {
	kind := item.GroupVersionKind()
	mapping, err := d.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if err != nil {
		return nil, err
	}
	if mapping.Scope.Name() != meta.RESTScopeNameNamespace {
		return d.client.Resource(mapping.Resource), nil
	}
	namespace := item.GetNamespace()
	if namespace == "" {
		namespace = metav1.NamespaceDefault
	}
	return d.client.Resource(mapping.Resource).Namespace(namespace), nil
}

func named(item *unstructured.Unstructured, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s %s: %w", item.GetKind(), item.GetName(), err)
}
