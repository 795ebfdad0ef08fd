"""`python -m lab demo`: the product's main job on real parts, as a person would do it, with a verdict at the end."""

from __future__ import annotations

from lab.demo.walk import main

__all__ = ["main"]
