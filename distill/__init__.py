"""On-policy distillation from several teachers."""
