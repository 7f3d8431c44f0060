"""The pipeline's stages as Luigi tasks: ``luigi --module tasks Pipeline``.

Read `stages` (the base class of all stages), `data`, `learning`, `whole` (the report and the whole pipeline), `sweep`;
`settings` and `configuration`; `this_run`; `remote` and `shared_work` (several machines); `luigi_adapter`; `commands`
and `scheduled`. Imports `pipeline`, and numpy only in a stage that runs.
"""

from tasks.luigi_adapter import configuration  # imports `interrupts` first: a signal may come while Luigi is imported

configuration.read_settings()  # before a task is declared, since Luigi reads luigi.cfg when it is imported

from tasks import stages, sweep, whole  # noqa: E402, F401, `whole` and `sweep` import every stage
from tasks.configuration import config_files  # noqa: E402
from tasks.luigi_adapter import command_line  # noqa: E402

command_line.checks += [config_files.require_settings_file, stages.check_all_settings]
