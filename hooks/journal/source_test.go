package journal

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// One line for each transition and for each change of a lease: nothing else is
// logged at level info. The keeper's tests count the lines of a real run.
func TestInfoIsForTransitionsAndLeases(t *testing.T) {
	const root = "../.."
	var found []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, path)
		if d.IsDir() && (rel == "lab" || rel == "build" || rel == "dist" || strings.HasPrefix(d.Name(), ".") && rel != ".") {
			return fs.SkipDir
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || strings.HasPrefix(rel, "hooks/journal/") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CallExpr:
				f, ok := n.Fun.(*ast.SelectorExpr)
				// Not os.DirEntry's Info, which takes no argument.
				if ok && (f.Sel.Name == "Info" || f.Sel.Name == "InfoContext") && len(n.Args) > 0 {
					found = append(found, rel)
				}
			case *ast.CompositeLit: // an action of a pure machine: its level, its text
				for _, e := range n.Elts {
					if s, ok := e.(*ast.SelectorExpr); ok && s.Sel.Name == "LevelInfo" {
						found = append(found, rel)
					}
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"hooks/keeper/loop.go", "hooks/keeper/wan/raise.go"}; !slices.Equal(found, want) {
		t.Errorf("lines at level info are written in %q, want one each in %q", found, want)
	}
}
