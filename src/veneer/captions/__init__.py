"""Captions: asked of a model, looked at, kept where a person wrote them."""

STAGE = "caption"
"""The stage that this room serves, as its notices name it."""
