"""Schedules: a timer of the user's systemd or, without one, a line in the user's crontab.

Read `install`, `job`, `systemd`, `crontab`, `expressions` (systemd's calendar expressions as crontab fields), `steps`.
"""
