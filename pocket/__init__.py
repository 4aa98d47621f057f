"""How the bundled base model was made: ``python -m pocket --help``."""
