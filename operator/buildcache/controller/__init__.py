"""The shell: what watch events become, which pass runs when, and every write to Kubernetes.

store.py keeps the newest objects, queue.py says whose turn it is, worker.py runs the passes, passes.py carries out what
they say, writer.py writes. Knows `reconcile`, `core` and `api`; kopf feeds it from `handlers.py` and is not known here.
"""
