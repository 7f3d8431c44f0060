"""Run the pipeline unattended: schedules, notices of failures, status files.

Read `schedule`, `notices`, `status_file`. Imports `store`, `web`, `files` and `errors`.
"""
