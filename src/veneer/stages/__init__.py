"""The stages of a run, one file each; stage, module, verb, table and folder share a name."""
