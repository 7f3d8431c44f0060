"""``make check-gpu``: everything that a GPU must show, in one call of less than six minutes.

Each part is a process of its own with a time limit; the others go on when one fails. First come the parts that find
something right or wrong, side by side, then those that measure, each alone.

Read `wheels`, `command`, `plan` (the settings of a part), `parts` (the list), `processes` and `summary`;
then the programs of the parts: `prepare`, `two_trainings`, `layouts`, `exponentials`, `step_profile`, `comparison` and
`epochs`.
"""
