"""The API `buildcache.dev/v1alpha1`: pydantic models of both kinds and the CRDs generated from them. Knows nothing else of the project."""
