"""Run the pipeline unattended, and keep the history of its runs.

Read `run_history` and `changes`, which compares a run with the one before; `supervisor`, which a timer starts, with
`status_file` and `notices`; and `schedule`, which installs the timer. Imports `store`, `web`, `files` and `errors`.
"""
