"""Asynchronous IA-SFT: its schedule, the snapshots between its two workers, and what runs them."""
