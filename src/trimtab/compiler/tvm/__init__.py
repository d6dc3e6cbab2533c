"""All that imports TVM: code generation, linking, fallback, the measured baseline."""
