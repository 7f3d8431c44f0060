"""The commands of ``python -m pipeline``, which list, check, remove and use results, and schedule runs.

Read `main` (the command line), `actions` (a function for each command), `current` (the stages that the settings
select), `configure` (settings kept in local.cfg). Imports the tasks.
"""
