"""`python -m lab chaos`: the operator is killed and its calls are spoilt at each of its effects, and the end must be the same.

`fault.py` says what can be done to an effect, `subject.py` what a scenario must be able to do, `cache.py` is that of a BuildCache and
`build.py` that of Builds, with `history.py` for what must hold at every moment of theirs; `life.py` runs one life of a subject with a fault
in each phase, `matrix.py` finds the effects and runs all lives.
"""

from lab.chaos.matrix import main

__all__ = ["main"]
