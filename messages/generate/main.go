// Command generate remakes what is made from the .proto files: the Go code beside
// each of them and the catalogue docs/MESSAGES.md. It needs no protoc. Run it with
// `make generate`, from the top of the repository.
package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/pluginpb"
)

const cataloguePath = "docs/MESSAGES.md"

func main() {
	if err := generate("."); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

func generate(root string) error {
	for _, dir := range protoDirs {
		files, err := compileDir(root, dir)
		if err != nil {
			return err
		}
		if len(files) == 0 {
			continue
		}
		made, err := runPlugin(root, files)
		if err != nil {
			return err
		}
		for _, f := range made {
			if err := os.WriteFile(filepath.Join(root, f.GetName()), []byte(f.GetContent()), 0o644); err != nil {
				return err
			}
		}
	}
	page, err := catalogue(root)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(root, cataloguePath), page, 0o644)
}

// runPlugin runs protoc-gen-go, of the version go.mod names, as protoc would.
func runPlugin(root string, files []sourceFile) ([]*pluginpb.CodeGeneratorResponse_File, error) {
	request := &pluginpb.CodeGeneratorRequest{
		Parameter: proto.String("paths=source_relative"),
		ProtoFile: withImports(files),
	}
	for _, f := range files {
		request.FileToGenerate = append(request.FileToGenerate, f.Path())
	}
	in, err := proto.Marshal(request)
	if err != nil {
		return nil, err
	}
	plugin := exec.Command("go", "run", "google.golang.org/protobuf/cmd/protoc-gen-go")
	plugin.Dir = root
	plugin.Stdin = bytes.NewReader(in)
	plugin.Stderr = os.Stderr
	out, err := plugin.Output()
	if err != nil {
		return nil, fmt.Errorf("protoc-gen-go: %w", err)
	}
	var response pluginpb.CodeGeneratorResponse
	if err := proto.Unmarshal(out, &response); err != nil {
		return nil, fmt.Errorf("answer of protoc-gen-go: %w", err)
	}
	if response.Error != nil {
		return nil, fmt.Errorf("protoc-gen-go: %s", response.GetError())
	}
	return response.File, nil
}
