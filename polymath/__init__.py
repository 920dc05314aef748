"""Polymath: post-training of the DeepSeek-V4 report."""
