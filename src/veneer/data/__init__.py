"""Pictures before they are trained on: found, fetched, decoded, put in one form, looked at, rejected."""
