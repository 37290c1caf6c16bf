"""What `predict.py` does: open the members, predict each fold once, fit the ensemble, write the submission."""
