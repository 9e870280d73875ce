"""Sampling transcripts for reinforcement learning, and judging them."""
