"""The API `buildcache.dev/v1alpha1`: pydantic models of both kinds and the CRDs made from them. Imports nothing of the project."""
