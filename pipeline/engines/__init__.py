"""Engines train and evaluate networks, and all take the same steps.

Read `engine` (the interface and the rules), then one of `numba`, `torch`, `theano`; `devices` chooses among them.
Imports `networks` and what it imports.
"""
