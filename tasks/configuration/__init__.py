"""Settings as people write them: in files, after make, on the command line, and in the run before this one.

Read `config_files`, `changed`, `make_variables`, `demo`, `last_run`. Imports `tasks.luigi_adapter` and `pipeline`.
"""
