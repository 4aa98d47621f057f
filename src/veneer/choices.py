"""Choices that a recipe and the command line both offer, each spelled once; no library is imported here."""

from __future__ import annotations

from typing import Literal

Scheduler = Literal["ddim", "dpmsolver", "euler", "pndm", "ddpm"]
FileLayout = Literal["diffusers", "kohya"]
SEARCHES = ("bing:", "openverse:", "commons:")
"""Sources that are words to search for, never a path."""
TrackerName = Literal["tensorboard", "wandb", "trackio"]
Precision = Literal["float32", "float16", "bfloat16"]
