module warmset.dev/ci/modelpack

go 1.26.0

require github.com/modelpack/model-spec v0.0.7

require (
	github.com/opencontainers/go-digest v1.0.0 // indirect
	github.com/santhosh-tekuri/jsonschema/v5 v5.3.1 // indirect
)
