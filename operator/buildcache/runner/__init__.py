"""What runs inside an ECS task beside the engine: `fetch` before the build, `report` after it.

Both run from the operator's image and import nothing else of the operator: the standard library and boto3 only. What they
exchange with the engine are files below one workspace, what they tell the operator are exit codes and one log line.
"""
