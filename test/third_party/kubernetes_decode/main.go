// Reads YAML documents on standard input the way that an API server or NVIDIA's own tools would: Kubernetes objects
// strictly (no unknown and no repeated field), and what is inside ConfigMaps by the parsers of the device plugin and of
// mig-parted. Prints one line for each document; fails on the first that is not understood.
package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"

	plugin "github.com/NVIDIA/k8s-device-plugin/api/config/v1"
	parted "github.com/NVIDIA/mig-parted/api/spec/v1"
	apps "k8s.io/api/apps/v1"
	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"
	kyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

type header struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
}

func decode(document []byte) (string, error) {
	var head header
	if err := yaml.Unmarshal(document, &head); err != nil {
		return "", err
	}
	objects := map[string]any{
		"v1/Pod":             &core.Pod{},
		"v1/Service":         &core.Service{},
		"v1/ConfigMap":       &core.ConfigMap{},
		"apps/v1/Deployment": &apps.Deployment{},
		"batch/v1/Job":       &batch.Job{},
	}
	name := head.APIVersion + "/" + head.Kind
	object, known := objects[name]
	if !known {
		return "", fmt.Errorf("no type for %s", name)
	}
	if err := yaml.UnmarshalStrict(document, object); err != nil {
		return name, err
	}
	if configs, is := object.(*core.ConfigMap); is {
		for key, text := range configs.Data {
			if err := decodeConfig(text); err != nil {
				return name, fmt.Errorf("%s: %w", key, err)
			}
		}
	}
	return name, nil
}

func decodeConfig(text string) error {
	if strings.Contains(text, "mig-configs:") {
		var spec parted.Spec
		return yaml.Unmarshal([]byte(text), &spec)
	}
	var config plugin.Config
	return yaml.UnmarshalStrict([]byte(text), &config)
}

func main() {
	reader := kyaml.NewYAMLReader(bufio.NewReader(os.Stdin))
	count := 0
	for {
		document, err := reader.Read()
		if err == io.EOF {
			break
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		if len(bytes.TrimSpace(document)) == 0 {
			continue
		}
		name, err := decode(document)
		if err != nil {
			fmt.Fprintf(os.Stderr, "document %d (%s): %v\n", count+1, name, err)
			os.Exit(1)
		}
		count++
		fmt.Println("ok", name)
	}
	if count == 0 {
		fmt.Fprintln(os.Stderr, "no document")
		os.Exit(1)
	}
}
