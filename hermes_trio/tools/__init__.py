"""Tools as data: schemas, registries, toolsets, calls and results, and how each is written for a model."""
