"""Adapt Luigi: where the pipeline needs another behaviour than Luigi 3.8 has, a module changes it.

Each module names the behaviour that it changes, the Luigi that it was written for, and when it can go. `tasks` imports
them all; stages use `console` and `interrupts`. Imports `tasks.configuration` and `pipeline`, never a stage.

Read `interrupts`, `configuration`, `command_line`, `errors`, `console`, `luigid`.
"""
