"""So that the models can be run: `python -m docs.model.claims`."""
