"""``veneer encode``: one stage of a run, by its folder."""

from __future__ import annotations

from veneer.cli.options import Json, Quiet, RunFolder
from veneer.cli.stage import do_stage


def encode(run: RunFolder, as_json: Json = False, quiet: Quiet = False) -> int:
    """Turn a run's pictures and captions into latents and text embeddings; what is cached stays."""
    return do_stage("encode", run, as_json, quiet)
