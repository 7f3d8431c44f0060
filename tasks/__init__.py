"""The pipeline's stages as Luigi tasks: ``luigi --module tasks Pipeline``."""

from tasks.luigi_adapter import configuration
from tasks.luigi_adapter import interrupts as interrupts  # first: a signal may come while Luigi is imported

configuration.read_settings()  # before a task is declared, since Luigi reads luigi.cfg when it is imported

from tasks import validation  # noqa: E402
from tasks.configuration import config_files  # noqa: E402
from tasks.data import ConvertToHDF5, DownloadCIFAR, Grayscale2D, GrayscaleFlat  # noqa: E402
from tasks.gate import gate  # noqa: E402
from tasks.learning import (  # noqa: E402
    Evaluate,
    EvaluateCNN,
    EvaluateMLP,
    History,
    HistoryCNN,
    HistoryMLP,
    Train,
    TrainCNN,
    TrainMLP,
)
from tasks.luigi_adapter import command_line, luigid  # noqa: E402, F401
from tasks.settings import schedule, settings, theano, torch  # noqa: E402
from tasks.whole import CheckDevice, Compare, Pipeline, Report  # noqa: E402

command_line.checks += [config_files.require_settings_file, validation.check_all_settings]

__all__ = [
    "CheckDevice",
    "Compare",
    "ConvertToHDF5",
    "DownloadCIFAR",
    "Evaluate",
    "EvaluateCNN",
    "EvaluateMLP",
    "Grayscale2D",
    "GrayscaleFlat",
    "History",
    "HistoryCNN",
    "HistoryMLP",
    "Pipeline",
    "Report",
    "Train",
    "TrainCNN",
    "TrainMLP",
    "gate",
    "schedule",
    "settings",
    "theano",
    "torch",
]
