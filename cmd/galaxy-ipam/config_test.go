package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"galaxy/reconciler"
)

func settingsOf(t *testing.T, text string) (settings, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "galaxy-ipam.json")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return readSettings(file)
}

// The config file of the contract (section 1.4): its defaults, other names, and what is ignored.
func TestReadSettings(t *testing.T) {
	s, err := settingsOf(t, `{"schedule_plugin":{"storageDriver":"k8s-crd","unknown":[1]},"more":true}`)
	if err != nil || s.interval != time.Minute || s.rules != reconciler.DefaultRules() || s.subnets != nil ||
		s.keepNodes != 24*time.Hour {
		t.Errorf("%+v, %v", s, err)
	}
	s, err = settingsOf(t,
		`{"schedule_plugin":{"resyncInterval":5,"configMapName":"ours","configMapNamespace":"network","floatingipKey":"subnets","cloudProviderGrpcAddr":"cloud:80"}}`)
	want := reconciler.Rules{ConfigNamespace: "network", ConfigName: "ours", ConfigKey: "subnets"}
	if err != nil || s.interval != 5*time.Minute || s.rules != want || s.cloud != "cloud:80" {
		t.Errorf("%+v, %v", s, err)
	}
	if s, err = settingsOf(t, `{"schedule_plugin":{"resyncInterval":-3}}`); err != nil || s.interval != time.Minute {
		t.Errorf("an interval below a minute is %s, %v", s.interval, err)
	}
	for text, want := range map[string]string{
		`{"schedule_plugin":`: "unexpected end of JSON",
		`{"overlay":{"networks":[{"cidr":"10.244.0.0/16","nodePrefix":8}]}}`: "overlay",
		`{"overlay":{"networks":[],"nodeNetworks":["192.168.0.1"]}}`:         `nodeNetworks "192.168.0.1": want a network such as "192.168.0.0/24"`,
		`{"nodeNetworks":[]}`: "nodeNetworks stands at the top, where it has no effect: it belongs into overlay",
		`{"overlay":{"networks":[],"keepLostNodes":"a day"}}`: `keepLostNodes "a day": want a duration such as "24h"`,
	} {
		if _, err := settingsOf(t, text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

// Settings a level too high have no effect: that is an error, and not a file without settings.
func TestMisplacedSettings(t *testing.T) {
	for text, says := range map[string]string{
		`{"floatingips":[]}`:                         "belongs into schedule_plugin",
		`{"configMapName":"x","schedule_plugin":{}}`: "belongs into schedule_plugin",
		`{"networks":[]}`:                            "belongs into overlay",
	} {
		if _, err := settingsOf(t, text); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", text, err)
		}
	}
}
