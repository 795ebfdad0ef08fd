"""A real cluster for the operator: kind, on this machine's Docker or on an engine and a node image of the lab's own.

`lab.py` composes it; `sandbox.py` is the engine, `node_image.py` the node, `cluster.py` kind itself, `deployment.py` the
operator as users install it, and `gate.py` what connects the cluster's network with the lab's loopback.
"""
