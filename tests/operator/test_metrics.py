"""What the operator counts about itself."""

from buildcache.controller.metrics import Metrics

NAMES = {"name", "namespace", "uid", "object", "cache", "build", "service", "task"}


def test_no_label_of_a_metric_holds_a_name__H22() -> None:
    metrics = Metrics()
    labels = {
        label for collector in metrics.registry._collector_to_names for label in getattr(collector, "_labelnames", ())
    }
    assert "kind" in labels
    assert not labels & NAMES
