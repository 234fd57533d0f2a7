"""Readiness: which share of the expected calls free units reach in time, and where they would reach more.

It scores places, never people: a unit is a place here, without a name or a crew. All but `demand`, `judge` and `exact`
is NumPy alone, so that the service can answer with it.
"""
