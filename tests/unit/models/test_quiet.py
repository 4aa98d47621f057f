"""What diffusers and transformers say while they are asked to be quiet, and afterwards."""

from __future__ import annotations

import logging

import pytest
from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

from veneer.models.quiet import quiet_libraries


def levels() -> tuple[int, int]:
    return diffusers_logging.get_verbosity(), transformers_logging.get_verbosity()


@pytest.mark.parametrize("level", [logging.ERROR, logging.CRITICAL])
def test_both_speak_as_before_even_after_an_error(level: int) -> None:
    before = levels()
    diffusers_logging.set_verbosity_info()
    try:
        with pytest.raises(ValueError, match="x"), quiet_libraries(level):
            assert levels() == (level, level)
            raise ValueError("x")
        assert levels() == (logging.INFO, before[1])
    finally:
        diffusers_logging.set_verbosity(before[0])
