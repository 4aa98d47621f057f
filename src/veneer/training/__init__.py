"""Training: the objective, what is drawn for a step, the loop, checkpoints, candidates, the plan."""
