"""The search space, the samplers, and the ledger that trials share."""
