"""How one step is played: eagerly, recorded, compiled, with the next batch at hand."""
