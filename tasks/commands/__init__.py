"""The commands of ``python -m pipeline``, which list, check, remove and use results, and schedule runs.

Read `main` (the command line), `actions` (a function for each command), `remotes` and `worker` (those on several
machines), `current` (the stages that the settings select), `configure` (settings kept in local.cfg). Imports the tasks.
"""
