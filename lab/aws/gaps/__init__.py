"""moto's gaps, one module for each service; a service whose gaps are many has its rules and errors beside it."""
