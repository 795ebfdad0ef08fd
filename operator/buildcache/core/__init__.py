"""Pure decisions: values in, values out. Knows neither AWS clients nor Kubernetes, clocks nor chance."""
