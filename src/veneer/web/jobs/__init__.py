"""Runs and stages that the studio starts."""
