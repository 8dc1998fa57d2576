"""What each hyperparameter of a classifier does, a function each; ``tests/test_effects.py`` runs them."""
