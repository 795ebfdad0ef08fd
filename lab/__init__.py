"""The lab: Kubernetes API, AWS, builders and registry on one machine, for the demo, the tests and for playing.

Not part of the wheel. The operator never imports it; it may import anything.
"""
