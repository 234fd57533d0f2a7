"""Readiness: which share of the expected calls free units reach in time, and where they would reach more.

It scores places, never people: a unit is a place here, without a name or a crew.
"""
