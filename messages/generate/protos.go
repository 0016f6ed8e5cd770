package main

import (
	"context"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"sort"
	"strconv"
	"strings"

	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/linker"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

// protoDirs are the packages that may hold .proto files.
var protoDirs = []string{"messages", "fsm/kv", "examples/orders"}

type sourceFile = linker.File

// compileDir compiles the .proto files of one directory, in the order of their
// names. There may be none.
func compileDir(root, dir string) ([]sourceFile, error) {
	found, err := filepath.Glob(filepath.Join(root, dir, "*.proto"))
	if err != nil || len(found) == 0 {
		return nil, err
	}
	sort.Strings(found)
	var paths []string
	for _, f := range found {
		paths = append(paths, dir+"/"+filepath.Base(f))
	}
	compiler := protocompile.Compiler{
		Resolver:       protocompile.WithStandardImports(&protocompile.SourceResolver{ImportPaths: []string{root}}),
		SourceInfoMode: protocompile.SourceInfoStandard,
	}
	files, err := compiler.Compile(context.Background(), paths...)
	if err != nil {
		return nil, err
	}
	return files, nil
}

// withImports describes the files and all they import, each after its imports.
func withImports(files []sourceFile) []*descriptorpb.FileDescriptorProto {
	var all []*descriptorpb.FileDescriptorProto
	seen := map[string]bool{}
	var add func(f protoreflect.FileDescriptor)
	add = func(f protoreflect.FileDescriptor) {
		if seen[f.Path()] {
			return
		}
		seen[f.Path()] = true
		for i := range f.Imports().Len() {
			add(f.Imports().Get(i).FileDescriptor)
		}
		all = append(all, describe(f))
	}
	for _, f := range files {
		add(f)
	}
	return all
}

// describe keeps the comments, which protodesc.ToFileDescriptorProto loses.
func describe(f protoreflect.FileDescriptor) *descriptorpb.FileDescriptorProto {
	if r, ok := f.(linker.Result); ok {
		return r.FileDescriptorProto()
	}
	return protodesc.ToFileDescriptorProto(f)
}

// meaning is what a .proto file says, without comments and positions.
func meaning(f *descriptorpb.FileDescriptorProto) *descriptorpb.FileDescriptorProto {
	f = proto.Clone(f).(*descriptorpb.FileDescriptorProto)
	f.SourceCodeInfo = nil
	return f
}

// generatedMeaning is the descriptor embedded in a generated Go file.
func generatedMeaning(path string) (*descriptorpb.FileDescriptorProto, error) {
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
	if err != nil {
		return nil, err
	}
	for _, decl := range file.Decls {
		d, ok := decl.(*ast.GenDecl)
		if !ok || d.Tok != token.CONST {
			continue
		}
		for _, spec := range d.Specs {
			v := spec.(*ast.ValueSpec)
			if len(v.Values) != 1 || !strings.HasSuffix(v.Names[0].Name, "_rawDesc") {
				continue
			}
			raw, err := stringConstant(v.Values[0])
			if err != nil {
				return nil, fmt.Errorf("%s: %w", path, err)
			}
			f := &descriptorpb.FileDescriptorProto{}
			if err := proto.Unmarshal([]byte(raw), f); err != nil {
				return nil, fmt.Errorf("%s: %w", path, err)
			}
			return f, nil
		}
	}
	return nil, fmt.Errorf("%s: no embedded descriptor (a constant named …_rawDesc)", path)
}

// stringConstant evaluates string literals joined by +.
func stringConstant(e ast.Expr) (string, error) {
	switch e := e.(type) {
	case *ast.BasicLit:
		return strconv.Unquote(e.Value)
	case *ast.BinaryExpr:
		left, err := stringConstant(e.X)
		if err != nil {
			return "", err
		}
		right, err := stringConstant(e.Y)
		return left + right, err
	}
	return "", fmt.Errorf("%T where string literals were expected", e)
}
