"""buildcache-operator: build caches and image builds on AWS ECS as Kubernetes objects."""

__version__ = "0.1.0"
