"""Many trials of one recipe: what is varied, how trials share work, which is best, and a page about it."""
