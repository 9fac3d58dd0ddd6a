// Command modelpack-config reads a model's config from standard input, and says why it is none where the
// specification's own code does.
package main

import (
	"fmt"
	"os"

	"github.com/modelpack/model-spec/schema"
)

func main() {
	if err := schema.ValidatorMediaTypeModelConfig.Validate(os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
