"""Sampling from the policy: one protocol, three engines, and the proof that they sample what is trained."""
