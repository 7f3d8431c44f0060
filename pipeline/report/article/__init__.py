"""The article that the networks come from: the figures of its text, and the tables that its own runs printed.

`runs` gives them; ``README.md`` says how ``runs.csv`` was read and checked. `curves` draws the runs behind the curves
of a training.
"""
