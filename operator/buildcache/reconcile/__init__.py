"""One pass over one object: what AWS and Kubernetes should hear next.

Knows `aws`, `core` and `api`; knows no event loop and no Kubernetes client.
"""
