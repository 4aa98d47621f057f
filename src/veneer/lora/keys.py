"""Keys of the metadata that Veneer writes into its LoRA files, each spelled once."""

from __future__ import annotations

OWN_PREFIX = "veneer."
OWN_VERSION = "veneer.version"
OWN_RECIPE = "veneer.recipe"
"""The whole recipe, as TOML."""

OWN_BASE = "veneer.base"
OWN_FINGERPRINT = "veneer.base_fingerprint"
"""Hash of the base's weights: its name alone does not tell one revision from another."""

OWN_FAMILY = "veneer.family"
OWN_PREDICTION_TYPE = "veneer.prediction_type"
OWN_STEP = "veneer.step"
OWN_KIND = "veneer.kind"
"""Whether the weights are a step's, their moving average, or a mean of checkpoints."""

OWN_TOKEN = "veneer.token"
"""The word of a file of learnt vectors whose tensors do not say it."""

OWN_TIMESTEP_RANK = "veneer.timestep_rank"
OWN_MERGED = "veneer.merged"
"""Of which files a merged one was made."""
