"""Settings as people write them: in files, as variables of make, as flags, and in the last run.

Read `config_files`, `changed`, `make_variables`, `last_run`. Imports `tasks.luigi_adapter` and `pipeline`.
"""
