"""Captions: asked of a model, looked at, kept where a person wrote them."""
