"""Pictures and texts turned into latents and text states, once."""

STAGE = "encode"
"""The stage that this room serves, as its notices name it."""
