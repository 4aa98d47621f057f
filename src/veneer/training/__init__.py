"""Training: the objective, what is drawn for a step, the loop, checkpoints, candidates, the plan."""

STAGE = "train"
"""The stage that this room serves, as its notices name it."""
