"""Pictures and texts turned into latents and text states, once."""
