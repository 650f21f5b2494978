package server

import (
	"path/filepath"

	"edgeimg.local/standin/internal/settings"
)

// paths are K3s's, below the data folder.
type paths struct {
	dir string // DATA/server
}

func pathsOf(s *settings.Settings) paths { return paths{dir: filepath.Join(s.DataDir, "server")} }

func (p paths) tls() string             { return filepath.Join(p.dir, "tls") }
func (p paths) cert(name string) string { return filepath.Join(p.tls(), name+".crt") }
func (p paths) key(name string) string  { return filepath.Join(p.tls(), name+".key") }
func (p paths) serviceKey() string      { return p.key("service") }
func (p paths) database() string        { return filepath.Join(p.dir, "db", "state.bolt") }
func (p paths) socket() string          { return filepath.Join(p.dir, "kine.sock") }
func (p paths) token() string           { return filepath.Join(p.dir, "token") }
func (p paths) agentToken() string      { return filepath.Join(p.dir, "agent-token") }
func (p paths) nodeToken() string       { return filepath.Join(p.dir, "node-token") }
func (p paths) manifests() string       { return filepath.Join(p.dir, "manifests") }
