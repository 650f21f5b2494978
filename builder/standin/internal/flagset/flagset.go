// Package flagset gives Kubernetes components their flags.
package flagset

import (
	"github.com/spf13/pflag"
	cliflag "k8s.io/component-base/cli/flag"
)

// Parse sets flags from arguments of the form key=value, as K3s's kubelet-arg
// and its like have them. Later ones win.
func Parse(sets cliflag.NamedFlagSets, args []string) error {
	all := pflag.NewFlagSet("", pflag.ContinueOnError)
	all.SetNormalizeFunc(cliflag.WordSepNormalizeFunc)
	for _, set := range sets.FlagSets {
		all.AddFlagSet(set)
	}
	return ParseSet(all, args)
}

// ParseSet is Parse for a single set.
func ParseSet(set *pflag.FlagSet, args []string) error {
	dashed := make([]string, len(args))
	for i, arg := range args {
		dashed[i] = "--" + arg
	}
	return set.Parse(dashed)
}
