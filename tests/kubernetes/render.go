// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

// Renders the chart's templates as `helm template` does, where there is no Helm: Go's own template engine, with the
// functions of the sprig library, which are Helm's, and those few that Helm adds itself and the chart uses. A value that is
// not there is an error.
//
//	GO111MODULE=off GOPATH=/usr/share/gocode go run render.go CHART NAMESPACE [VALUES]
//
// VALUES is a file of values over those of the chart. Packages: golang-go, golang-github-masterminds-sprig-dev.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/template"

	"github.com/Masterminds/sprig"
	"gopkg.in/yaml.v3"
)

type files struct{ directory string }

func (f files) Get(name string) string {
	data, err := os.ReadFile(filepath.Join(f.directory, name))
	check(err)
	return string(data)
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "render:", err)
		os.Exit(1)
	}
}

// Numbers become floats on the way, as they do in Helm.
func read(name string) map[string]interface{} {
	var loose, values map[string]interface{}

	data, err := os.ReadFile(name)
	check(err)
	check(yaml.Unmarshal(data, &loose))
	data, err = json.Marshal(loose)
	check(err)
	check(json.Unmarshal(data, &values))
	return values
}

// Maps are merged, all else is replaced.
func merge(values, over map[string]interface{}) {
	for key, value := range over {
		below, isMap := values[key].(map[string]interface{})
		if more, alsoMap := value.(map[string]interface{}); isMap && alsoMap {
			merge(below, more)
		} else {
			values[key] = value
		}
	}
}

func functions(all *template.Template) template.FuncMap {
	table := sprig.TxtFuncMap()
	table["include"] = func(name string, data interface{}) (string, error) {
		var out bytes.Buffer
		err := all.ExecuteTemplate(&out, name, data)
		return out.String(), err
	}
	table["toYaml"] = func(value interface{}) (string, error) {
		data, err := yaml.Marshal(value)
		return strings.TrimSuffix(string(data), "\n"), err
	}
	return table
}

func main() {
	directory, namespace := os.Args[1], os.Args[2]
	values, chart := read(filepath.Join(directory, "values.yaml")), read(filepath.Join(directory, "Chart.yaml"))
	if len(os.Args) > 3 {
		merge(values, read(os.Args[3]))
	}
	data := map[string]interface{}{
		"Values":  values,
		"Files":   files{directory},
		"Chart":   map[string]interface{}{"Name": chart["name"], "Version": chart["version"], "AppVersion": chart["appVersion"]},
		"Release": map[string]interface{}{"Name": "reprieve", "Namespace": namespace, "Service": "Helm"},
	}
	all := template.New("chart").Option("missingkey=error")
	all.Funcs(functions(all))
	names, err := filepath.Glob(filepath.Join(directory, "templates", "*"))
	check(err)
	for _, name := range names {
		text, err := os.ReadFile(name)
		check(err)
		_, err = all.New(filepath.Base(name)).Parse(string(text))
		check(err)
	}
	for _, name := range names {
		if filepath.Base(name)[0] != '_' {
			fmt.Println("---")
			check(all.ExecuteTemplate(os.Stdout, filepath.Base(name), data))
		}
	}
}
