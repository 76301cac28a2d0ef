"""Estimating latency by arithmetic alone: no tensors, and torch is not needed."""
