"""Run the pipeline regularly: by a timer of the user's systemd or, without systemd, by a line in the user's crontab.

Read `install`; `job`, the command and its calendar; `systemd`; `crontab`, with `expressions`, which translates
systemd's calendar expressions; and `steps`, which changes the machine or only prints the changes. Imports `files` and
`errors`.
"""
