"""What a run and a data set leave on disk: one file format a module."""
