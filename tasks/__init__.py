"""The pipeline's stages as Luigi tasks: ``luigi --module tasks Pipeline``."""

from tasks.data import ConvertToHDF5, DownloadCIFAR, Grayscale2D, GrayscaleFlat
from tasks.learning import Evaluate, EvaluateCNN, EvaluateMLP, Train, TrainCNN, TrainMLP
from tasks.settings import settings, theano, torch
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
    "settings",
    "theano",
    "torch",
]
