"""The pipeline's stages as Luigi tasks: ``luigi --module tasks Pipeline``."""

import configparser
import os
import sys

from tasks import signals as signals  # Ctrl-C may come while the rest is imported

try:
    if "toml" in (os.environ.get("LUIGI_CONFIG_PARSER"), os.environ.get("LUIGI_CONFIG_PATH", "").rpartition(".")[2]):
        raise configparser.Error("the environment asks for TOML. Type `unset LUIGI_CONFIG_PARSER LUIGI_CONFIG_PATH`.")
    import luigi as luigi  # it reads luigi.cfg as it is imported

    from tasks import configuration as configuration  # it lays local.cfg over that
except (configparser.Error, UnicodeDecodeError) as error:
    sys.stderr.write(f"luigi.cfg, local.cfg or the file that LUIGI_CONFIG_PATH names cannot be understood: {error}\n")
    sys.exit(40)  # as luigi.cfg says it for other settings that are wrong

from tasks import command_line as command_line  # it makes Luigi's answer to a misspelt flag a short one
from tasks import defaults as defaults  # it has a failed stage fail the run, whatever luigi.cfg lacks
from tasks import lasting as lasting  # it has runs outlive luigid
from tasks.data import ConvertToHDF5, DownloadCIFAR, Grayscale2D, GrayscaleFlat
from tasks.gate import gate
from tasks.learning import Evaluate, EvaluateCNN, EvaluateMLP, Train, TrainCNN, TrainMLP
from tasks.settings import schedule, settings, theano, torch
from tasks.whole import CheckDevice, Compare, Pipeline, Report

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
