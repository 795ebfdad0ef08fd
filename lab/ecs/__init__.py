"""ECS tasks of the lab: the task API with the rules of AWS, in front of moto, and the runtimes that execute or simulate tasks."""
